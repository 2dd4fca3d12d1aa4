from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixtures"]

# How long an example takes says something about the machine, and nothing about the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
