"""A disk that is full while a run ends: its end is recorded as that, once there is room."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.engine import RunPhase
from reconciler.engines.local import state as states
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.state import RunState
from reconciler.engines.local.supervisor import _infrastructure, _record
from reconciler.reasons import ReasonCode
from reconciler.types import BuildContext
from tests.engines.local.bench import Bench, until
from tests.engines.local.bench import export as copy

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


async def test_a_source_that_finds_no_room_says_so_until_it_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True]
    write = states.write

    def on_a_full_disk(*arguments: Any) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    def export(context: BuildContext, folder: Path) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(context, folder)

    monkeypatch.setattr(states, "write", on_a_full_disk)
    spec = bench.build_spec(bench.source({"train.sh": "#!/bin/sh\n"}))
    async with bench.engine(export=export) as engine:

        def says_so() -> bool:
            reason = engine.runs()[spec.name].reason
            return reason is not None and reason.code is ReasonCode.ENGINE_UNAVAILABLE

        await engine.create(spec)
        await until(says_so)
        full[0] = False
        run = await bench.ended(engine, spec.name)
    assert run.phase is RunPhase.SUCCEEDED, run.reason
