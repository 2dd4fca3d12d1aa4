"""What ``run --once`` prints to a pipe while it works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reconciler.cli.observed_run import PhaseLines
from reconciler.planner import ObjectStatus, Phase
from reconciler.types import Kind, ObjectRef
from tests.e2e.site import GOOD, Site


def records(**phases: Phase) -> dict[ObjectRef, ObjectStatus]:
    refs = {name: ObjectRef(Kind.MODEL, "default", name) for name in phases}
    return {
        refs[name]: ObjectStatus(ref=refs[name], phase=phase, message="a\nb")
        for name, phase in phases.items()
    }


def test_each_change_of_a_phase_is_a_line_with_the_time() -> None:
    times: Iterator[float] = iter([100.0, 101.0, 165.0, 166.0])
    lines = PhaseLines(clock=lambda: next(times))
    first = records(a=Phase.READY, b=Phase.PENDING)
    assert list(lines.changes(first)) == ["    1s  2 objects: 1 Ready, 1 Pending"]
    second = records(a=Phase.READY, b=Phase.TRAINING)
    assert list(lines.changes(second)) == [" 1m05s  Model default/b is Training"]
    third = records(b=Phase.FAILED)
    assert list(lines.changes(third)) == [
        " 1m06s  Model default/b is Failed: a b",
        " 1m06s  Model default/a was removed",
    ]


def test_a_pipe_gets_the_phases_of_a_sync(tmp_path: Path) -> None:
    site = Site(tmp_path)
    # It goes on until a sync has seen it: a shorter one may end between two of them.
    status = f"git -C {site.remote} show {site.branch}:default/models/m.yaml"
    seen = f"until {status} 2>/dev/null | grep -q 'phase: Training'; do sleep 0.1; done\n"
    site.trained("m", seen + GOOD)
    said = site.sync().stderr
    assert "Model default/m is Training" in said
    assert "Model default/m is Ready" in said
    assert "run created" not in said, "the log has only what goes wrong"
