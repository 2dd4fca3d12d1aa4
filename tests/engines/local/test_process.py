"""Which processes are an attempt's, where an id alone does not say so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from reconciler.engines.local.process import ProcessIdentity, identify, members

#: A session that outlives its leader, as every daemon does that was started the old way.
_DAEMON = """
import os, signal
os.setsid()
if child := os.fork():
    print(os.getpid(), child, flush=True)
    signal.pause()
os.close(1)
signal.pause()
"""


@pytest.fixture
def orphan() -> Iterator[tuple[ProcessIdentity, int]]:
    """The leader of a session, which has ended, and its child, which goes on."""
    process = subprocess.Popen([sys.executable, "-c", _DAEMON], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    leader, child = map(int, process.stdout.readline().split())
    identity = identify(leader)
    assert identity is not None
    process.kill()
    process.wait()
    process.stdout.close()
    try:
        yield identity, child
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_has_outlived_its_sessions_leader_is_the_attempts(
    orphan: tuple[ProcessIdentity, int],
) -> None:
    leader, child = orphan
    assert members("no token", [leader], own=False) == [child]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which boot it is")
def test_a_session_of_another_boot_that_had_the_same_id_is_left_alone(
    orphan: tuple[ProcessIdentity, int],
) -> None:
    leader, _ = orphan
    before = ProcessIdentity(leader.pid, f"0b7c0d5c-another-boot:{leader.start.rpartition(':')[2]}")
    assert members("no token", [before], own=False) == []
