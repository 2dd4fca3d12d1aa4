from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixtures"]

# How long an example takes says something about the machine, and nothing about the code. In CI the
# examples are the same each time: it judges a change, and a search that goes on belongs elsewhere.
settings.register_profile("search", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "search")
