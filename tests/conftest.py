from __future__ import annotations

import os
import signal
import sys

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixtures", "tests.container_daemons"]

# How long an example takes says something about the machine, and nothing about the code. In CI the
# examples are the same each time: it judges a change, and a search that goes on belongs elsewhere.
settings.register_profile("search", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "search")

# Without bytecode, every process that a test starts compiles the whole package anew, which takes
# longer than most commands; some images set this variable.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What a shell runs in the background ignores these, and so would all that a test starts.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
