"""Forecasts: what the history shows, and nothing that it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.planner.forecast import ForecastBasis, Forecaster, Spread, forecast_times, spread
from reconciler.planner.object_status import HistoryEntry, ObjectStatus
from reconciler.planner.phases import TaskPhase
from reconciler.planner.prices import Prices
from reconciler.planner.wall_time import TimedTask, makespan
from reconciler.types import ObjectRef, TaskKey, TaskKind
from tests.planner.world import START, World, finetune, model, scratch

GPU = ", resources: {gpu: {type: l4, count: 2}}"


def entry(seconds: float, *, after: int = 0, **params: float) -> HistoryEntry:
    return HistoryEntry(
        task=TaskKind.TRAIN,
        key=TaskKey("a" * 40),
        phase=TaskPhase.SUCCEEDED,
        finished=START + timedelta(hours=after),
        params=params,
        seconds=seconds,
    )


def test_it_is_the_median_of_the_last_five_with_what_nine_in_ten_stay_below() -> None:
    history = [entry(s, after=n) for n, s in enumerate([900, 10, 20, 30, 40, 50])]
    assert spread(forecast_times(history, {})) == Spread(30, 46)


def test_times_that_follow_epochs_are_scaled() -> None:
    history = [entry(10 + 2 * n, after=n, epochs=n) for n in (1, 2, 4, 8)]
    assert spread(forecast_times(history, {"epochs": 100})).p50 == pytest.approx(210)


def test_an_equal_number_of_epochs_is_no_evidence_for_another() -> None:
    history = [entry(10.0, after=n, epochs=3) for n in range(4)]
    assert forecast_times(history, {"epochs": 30}) == ()
    assert spread(forecast_times(history, {"epochs": 3})).p50 == 10


def test_times_that_do_not_follow_epochs_are_not_scaled() -> None:
    history = [entry(60.0, after=n, epochs=n) for n in (1, 2, 4)]
    assert spread(forecast_times(history, {"epochs": 8})).p50 == 60
    wild = [entry(s, after=n, epochs=n) for n, s in ((1, 5.0), (2, 900.0), (3, 2.0), (4, 700.0))]
    assert forecast_times(wild, {"epochs": 40}) == ()
    assert len(forecast_times(wild, {"epochs": 2})) == 1


def took(world: World, name: str, seconds: float) -> None:
    """Let all that runs end after so many seconds, until an object is complete."""

    def end(world: World, run: str) -> None:
        world.runs[run] = replace(world.runs[run], started=world.now - timedelta(seconds=seconds))
        world.succeed(run)

    world.settle(end)
    assert world.records[model(name)].complete


def forecaster(world: World) -> Forecaster:
    inputs = world.inputs()
    return Forecaster(inputs.records, inputs.desired, Prices(gpus={"l4": 3.6}, startup=100))


def test_own_runs_come_before_kin_and_nothing_is_unknown() -> None:
    world = World({"base.yaml": scratch("base"), "a.yaml": finetune("a", "base", GPU)})
    unknown = forecaster(world).of(model("a"), world.inputs().desired[model("a")].tasks[-1])
    assert (unknown.basis, unknown.seconds, unknown.cost) == (ForecastBasis.NONE, None, None)
    took(world, "a", 100)
    world.files["b.yaml"] = finetune("b", "base", GPU)
    desired = world.inputs().desired
    own = forecaster(world).of(model("a"), desired[model("a")].tasks[-1])
    kin = forecaster(world).of(model("b"), desired[model("b")].tasks[-1])
    assert (own.basis, kin.basis) == (ForecastBasis.OWN, ForecastBasis.KIN)
    assert own.seconds == kin.seconds == Spread(100, 100)
    assert kin.gpu_seconds == Spread(200, 200)
    assert kin.cost is not None
    assert kin.cost.p50 == pytest.approx(2 * 3.6 * 200 / 3600)


def test_a_run_that_failed_tells_nothing() -> None:
    failed = replace(entry(5.0), phase=TaskPhase.FAILED)
    world = World({"a.yaml": scratch("a")})
    world.settle()
    record = replace(world.records[model("a")], history=(failed,))
    task = world.inputs().desired[model("a")].tasks[-1]
    found = Forecaster({model("a"): record}, {}, Prices()).of(model("a"), task)
    assert found.basis is ForecastBasis.NONE


def timed(key: str, seconds: float, *needs: str, gpus: int = 0) -> TimedTask:
    found = tuple(TaskKey(need) for need in needs)
    return TimedTask(key=TaskKey(key), needs=found, seconds=seconds, gpus=gpus)


def test_the_wall_time_is_the_critical_path_within_the_limits() -> None:
    tasks = [timed("a", 10), timed("b", 20, "a"), timed("c", 5, "a"), timed("d", 7, "gone")]
    assert makespan(tasks) == 30
    assert makespan(tasks, runs=1) == 42
    gpus = [timed("a", 10, gpus=4), timed("b", 10, gpus=4), timed("c", 10)]
    assert makespan(gpus, gpus=4) == 20
    assert makespan([timed("a", 10, gpus=8)], gpus=4) == 0


def test_models_with_images_of_their_own_are_kin_by_their_base() -> None:
    world = World({"base.yaml": scratch("base"), "a.yaml": finetune("a", "base")})
    took(world, "a", 100)
    record = world.records[model("a")]
    entries = tuple(replace(entry, image_key=None) for entry in record.history)
    world.records[model("a")] = replace(record, history=entries)
    world.files["b.yaml"] = finetune("b", "base")
    task = world.inputs().desired[model("b")].tasks[-1]
    inputs = world.inputs()
    records = {model("a"): world.records[model("a")]}
    found = Forecaster(records, inputs.desired, Prices()).of(model("b"), task)
    assert (found.basis, found.seconds, found.cost) == (ForecastBasis.KIN, Spread(100, 100), None)


class Counted(dict[ObjectRef, ObjectStatus]):
    """Records that count how often one is looked up."""

    asked = 0

    def get(self, *arguments: Any) -> Any:
        self.asked += 1
        return super().get(*arguments)


def test_many_of_one_base_are_looked_up_once_each_and_their_newest_runs_count() -> None:
    names = [f"m{number}" for number in range(40)]
    files = {f"{name}.yaml": finetune(name, "base") for name in names}
    world = World({"base.yaml": scratch("base"), **files})
    took(world, "m0", 100)
    desired, known = world.inputs().desired, world.records[model("m0")]
    records = Counted()
    for number, name in enumerate(names[:30]):
        records[model(name)] = replace(
            known, ref=model(name), history=(entry(number + 1, after=number, epochs=3),)
        )
    forecaster = Forecaster(records, desired, Prices())
    found = [forecaster.of(model(name), desired[model(name)].tasks[-1]) for name in names[30:]]
    assert {(each.basis, each.runs) for each in found} == {(ForecastBasis.KIN, 5)}
    assert {each.seconds for each in found} == {Spread(28, 29.6)}
    assert records.asked <= 2 * len(names)
