"""An object's runs beside each other: what sets them apart is a column, the rest is told once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.planner.object_status import ArtifactStatus, HistoryEntry, ObjectStatus
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.types import JSON, Kind, ObjectRef, TaskKey, TaskKind
from reconciler.web.history import MOST_PARAMS, ROWS, Comparison, Order, comparisons

START = datetime(2026, 1, 1, tzinfo=UTC)
REF = ObjectRef(Kind.MODEL, "default", "m")


def entry(number: int, accuracy: float | None = None, **params: JSON) -> HistoryEntry:
    return HistoryEntry(
        task=TaskKind.TRAIN,
        key=TaskKey(f"{number:040x}"),
        phase=TaskPhase.SUCCEEDED if accuracy is not None else TaskPhase.FAILED,
        finished=START + timedelta(hours=number),
        params=params,
        metrics={"accuracy": accuracy} if accuracy is not None else {},
    )


def record(*entries: HistoryEntry, current: int = 0) -> ObjectStatus:
    artifact = ArtifactStatus(url="file:///b/", key=TaskKey(f"{current:040x}"))
    return ObjectStatus(ref=REF, phase=Phase.READY, artifact=artifact, history=entries)


def compared(of: ObjectStatus, query: str = "") -> Comparison:
    (found,) = comparisons(of, Order.parse(query))
    return found


def test_params_that_differ_are_columns_and_the_others_are_told_once() -> None:
    found = compared(record(entry(1, 0.8, lr=0.1, epochs=3), entry(2, 0.9, lr=0.2, epochs=3)))
    assert found.params == ("lr",)
    assert found.same == (("epochs", "3"),)
    assert found.metrics == ("accuracy",)


def test_a_single_run_shows_all_its_params() -> None:
    assert compared(record(entry(1, 0.8, lr=0.1, epochs=3))).params == ("lr", "epochs")


def test_only_what_differs_from_the_current_artifact_is_marked() -> None:
    runs = entry(1, 0.8, lr=0.1, seed=1), entry(2, 0.9, lr=0.2, seed=2), entry(3, 0.9, lr=0.2)
    found = compared(record(*runs, current=2))
    marks = {line.entry.key: [cell.differs for cell in line.params] for line in found.lines}
    assert marks == {
        runs[2].key: [False, True],
        runs[1].key: [False, False],
        runs[0].key: [True, True],
    }
    assert [line.current for line in found.lines] == [False, True, False]
    assert [line.metrics[0].change for line in found.lines] == ["", "", "-0.1"]


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("", [3, 2, 1]),
        ("sort=finished&order=asc", [1, 2, 3]),
        ("sort=metrics.accuracy", [1, 2, 3]),
        ("sort=metrics.accuracy&order=asc", [2, 1, 3]),
        ("sort=params.lr", [3, 2, 1]),
        ("sort=params.lr&order=asc", [1, 2, 3]),
        ("sort=nonsense", [3, 2, 1]),
        ("sort=metrics.none", [3, 2, 1]),
    ],
)
def test_rows_are_ordered_as_asked_and_what_has_no_value_comes_last(
    query: str, order: list[int]
) -> None:
    runs = record(entry(1, 0.9, lr=1), entry(2, 0.8, lr=2), entry(3, lr="adaptive"))
    found = [int(line.entry.key, 16) for line in compared(runs, query).lines]
    assert found == order


def test_the_link_of_a_column_asks_for_the_other_order() -> None:
    once = Order.parse(Order().href("metrics.a").partition("#")[0].removeprefix("?"))
    assert once == Order("metrics.a")
    assert Order.parse(once.href("metrics.a").partition("#")[0].removeprefix("?")).ascending
    assert once.aria_sort("metrics.a") == "descending"
    assert once.aria_sort("finished") == "none"


def test_what_makes_the_artifact_comes_before_what_it_needs() -> None:
    build = replace(entry(1, 0.5), task=TaskKind.BUILD, metrics={})
    found = comparisons(record(build, entry(2, 0.9)), Order())
    assert [comparison.task for comparison in found] == [TaskKind.TRAIN, TaskKind.BUILD]


def test_however_long_and_wide_a_history_is_what_is_shown_is_bounded() -> None:
    runs = [entry(n, 0.5, **{f"p{i}": n for i in range(50)}) for n in range(300)]
    found = compared(record(*runs))
    assert (len(found.lines), found.more_lines) == (ROWS, 200)
    assert (len(found.params), found.more_columns) == (MOST_PARAMS, 50 - MOST_PARAMS)
