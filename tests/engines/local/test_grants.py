"""Who may start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine import RunSpec
from reconciler.engines.local.scheduler import (
    ActiveRun,
    Admitted,
    Machine,
    Queued,
    find_gpus,
    schedule,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Gpu, Resources
from tests.engines.local.bench import key_of
from tests.specs import run_spec


def order(name: str, cpu: float | None = None, gpus: int = 0, nodes: int = 1) -> RunSpec:
    resources = Resources(cpu=cpu, gpu=Gpu("", gpus) if gpus else None, nodes=nodes)
    return run_spec(name, name=name, key=key_of(name), resources=resources)


MACHINE = Machine(4, ("0", "1"))


def test_cores_are_rounded_up_and_each_rank_takes_them() -> None:
    needs = [
        (Resources(), 1),
        (Resources(cpu=0), 1),
        (Resources(cpu=0.5), 1),
        (Resources(cpu=1.5), 2),
        (Resources(cpu=1.5, nodes=2), 4),
        (Resources(cpu=64), 4),
        (Resources(nodes=64), 4),
    ]
    assert [MACHINE.slots_for(resources) for resources, _ in needs] == [n for _, n in needs]


def test_a_big_run_is_not_starved_by_small_ones_behind_it() -> None:
    held = [ActiveRun(key_of("x"), 2, ())]
    decisions = schedule(MACHINE, held, [order("big", 4), order("small", 1)])
    assert decisions == [
        Queued("big", Reason.of(ReasonCode.WAITING_FOR_SLOTS, need=4, slots=4)),
        Queued("small", Reason.of(ReasonCode.WAITING_FOR_SLOTS, need=1, slots=4)),
    ]


def test_a_run_that_waits_for_gpus_leaves_the_cores_to_others() -> None:
    held = [ActiveRun(key_of("x"), 1, ("1",))]
    waiting = [order("two", gpus=2), order("one", gpus=1), order("none")]
    assert schedule(MACHINE, held, waiting) == [
        Queued("two", Reason.of(ReasonCode.WAITING_FOR_GPUS, need=2, gpus=2)),
        Queued("one", Reason.of(ReasonCode.WAITING_FOR_GPUS, need=1, gpus=2)),
        Admitted("none", ()),
    ]


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        ("", ()),
        ("-1", ()),
        ("0,2", ("0", "2")),
        (" GPU-1a , 1", ("GPU-1a", "1")),
        ("1,-1,0", ("1",)),
    ],
)
def test_gpus_are_those_that_cuda_would_see(
    visible: str, gpus: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_gpus() == gpus


def test_a_run_that_can_never_start_holds_nobody_up() -> None:
    decisions = schedule(MACHINE, [], [order("huge", gpus=3), order("one", gpus=1)])
    assert decisions == [
        Queued("huge", Reason.of(ReasonCode.INSUFFICIENT_GPUS, gpus=3, available=2)),
        Admitted("one", ("0",)),
    ]


runs = st.lists(
    st.tuples(st.none() | st.floats(0, 9), st.integers(0, 3), st.integers(1, 3)), max_size=12
)


@given(runs)
def test_no_more_is_granted_than_there_is_and_no_gpu_twice(
    wanted: list[tuple[float | None, int, int]],
) -> None:
    waiting = [order(f"r{n}", cpu, gpus, nodes) for n, (cpu, gpus, nodes) in enumerate(wanted)]
    decisions = schedule(MACHINE, [], waiting)
    assert [d.name for d in decisions] == [spec.name for spec in waiting]
    granted = [d for d in decisions if isinstance(d, Admitted)]
    by_name = {spec.name: spec for spec in waiting}
    assert sum(MACHINE.slots_for(by_name[d.name].resources) for d in granted) <= MACHINE.slots
    gpus = [gpu for d in granted for gpu in d.gpus]
    assert len(gpus) == len(set(gpus))
    assert all(len(d.gpus) == by_name[d.name].resources.gpus for d in granted)


@given(runs)
def test_every_run_that_fits_the_machine_starts_in_the_end(
    wanted: list[tuple[float | None, int, int]],
) -> None:
    waiting = [order(f"r{n}", cpu, gpus, nodes) for n, (cpu, gpus, nodes) in enumerate(wanted)]
    possible = [spec for spec in waiting if spec.resources.gpus <= 2]
    started: list[str] = []
    while possible:
        granted = [d.name for d in schedule(MACHINE, [], possible) if isinstance(d, Admitted)]
        assert granted
        assert granted[0] == possible[0].name
        started += granted
        possible = [spec for spec in possible if spec.name not in granted]
    assert len(started) == len(set(started))
