from __future__ import annotations

import os
import signal
import sys

import pytest
from hypothesis import settings

pytest_plugins = ["tests.cluster.fixtures", "tests.container_daemons", "tests.forge.gitea"]

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

#: Seconds. A test that is given more is begun early.
_LONG = 600
#: Tests of a run that may pass at their second try. More are no chance.
_MOST_RERUNS = 4


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin the share of each worker with long tests, so that none is left for the end.

    ``--dist worksteal`` gives each worker an equal share of the list, in its order.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if _is_long(item)]
    short = [item for item in items if not _is_long(item)]
    items[:] = [
        item
        for worker in range(workers)
        for item in (*long[worker::workers], *short[worker::workers])
    ]


def _is_long(item: pytest.Item) -> bool:
    bound = item.get_closest_marker("timeout")
    return item.get_closest_marker("slow") is not None or (
        bound is not None and bound.args[0] >= _LONG
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the first failure of each test that was tried again."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"first try of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which many tests took a second try."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and len(reporter.getreports("rerun")) > _MOST_RERUNS:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
