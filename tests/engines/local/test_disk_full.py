"""A disk that is full while a run ends: its end is recorded as that, once there is room."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import cast

import pytest

from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.state import RunState
from reconciler.engines.local.supervisor import _infrastructure, _record
from reconciler.reasons import ReasonCode

ENDED = RunState(message="how it ended")


class Disk:
    """A disk that takes the state after some refusals, and how often was waited for it."""

    def __init__(self, refusals: int, number: int, *, told_to_stop: bool = False) -> None:
        self.refusals, self.number, self.goes_on = refusals, number, not told_to_stop
        self.waits = 0
        self.saved: RunState | None = None

    def save(self, state: RunState) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError(self.number, "no")
        self.saved = state

    def wait(self, _: float) -> bool:
        self.waits += 1
        return self.goes_on

    def context(self) -> RunContext:
        control = SimpleNamespace(wait=self.wait)
        return cast("RunContext", SimpleNamespace(save=self.save, control=control))


def test_the_end_of_a_run_waits_for_room() -> None:
    disk = Disk(3, errno.ENOSPC)
    _record(disk.context(), ENDED)
    assert (disk.saved, disk.waits) == (ENDED, 3)


@pytest.mark.parametrize(
    ("number", "stop"), [(errno.EIO, False), (errno.ENOSPC, True)], ids=["broken", "told to stop"]
)
def test_it_waits_for_nothing_else(number: int, stop: bool) -> None:
    disk = Disk(1, number, told_to_stop=stop)
    with pytest.raises(OSError, match="no"):
        _record(disk.context(), ENDED)
    assert disk.saved is None


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ReasonCode.DISK_FULL),
        (errno.EDQUOT, ReasonCode.DISK_FULL),
        (errno.EIO, ReasonCode.INFRASTRUCTURE_FAILED),
    ],
)
def test_an_error_of_a_full_disk_is_told_as_that(number: int, code: ReasonCode) -> None:
    assert _infrastructure(OSError(number, "why", "file")).code is code
