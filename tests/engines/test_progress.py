"""Reports of progress: what of them is used, and the curves that are kept."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.engine import (
    LONGEST_REPORT,
    MOST_METRICS,
    MOST_POINTS,
    Curves,
    Progress,
    Report,
    continued_curves,
    read_curves,
    read_report,
)
from tests.golden_files import kept

AT = datetime(2026, 11, 29, tzinfo=UTC)


def report(**members: Any) -> tuple[Report, int]:
    return read_report(json.dumps(members).encode())


def test_every_member_may_be_left_out() -> None:
    assert report() == (Report(), 0)
    assert report(progressPercentage=40) == (Report(percentage=40), 0)
    assert report(step=7, estimatedRemainingSeconds=1.5) == (Report(step=7, remaining=1.5), 0)


def test_metrics_are_an_object_of_numbers_or_a_list_of_names_and_values() -> None:
    expected = Report(metrics={"loss": 0.31, "step": 3})
    assert report(metrics={"loss": 0.31, "step": 3}) == (expected, 0)
    pairs = [{"name": "loss", "value": "0.31"}, {"name": "step", "value": "3"}]
    assert report(metrics=pairs) == (expected, 0)


def test_a_report_of_the_sdk_is_within_trainer_status() -> None:
    status = {"lastUpdatedTime": "2026-11-29T00:00:00+00:00", "progressPercentage": 5}
    assert report(trainerStatus=status) == (Report(percentage=5), 0)


def test_the_step_may_be_a_metric_as_transformers_has_it() -> None:
    metrics = [{"name": "current_step", "value": "40"}]
    assert report(metrics=metrics)[0].step == 40
    assert report(metrics=metrics, step=7)[0].step == 7


@pytest.mark.parametrize(
    ("members", "dropped"),
    [
        ({"progressPercentage": 101}, 1),
        ({"progressPercentage": -1, "estimatedRemainingSeconds": -1}, 2),
        ({"progressPercentage": "soon", "step": True}, 2),
        ({"estimatedRemainingSeconds": float("nan"), "step": float("inf")}, 2),
        ({"metrics": [1, {"name": "a"}, {"name": 1, "value": 1}, {"name": "", "value": 1}]}, 4),
        ({"metrics": {"a": "nan", "b": None, "c": [], "d": "1" * 50, "e\n": 1}}, 5),
        ({"metrics": 3}, 1),
        ({"metrics": {f"m{n}": n for n in range(MOST_METRICS + 3)}}, 3),
    ],
)
def test_what_cannot_be_used_is_dropped_and_counted(members: dict[str, Any], dropped: int) -> None:
    found, count = report(**members)
    assert count == dropped
    assert (found.percentage, found.remaining, found.step) == (None, None, None)
    assert len(found.metrics) <= MOST_METRICS


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"[1]", b"[" * 60000, b'{"step": ' + b"1" * 5000 + b"}"],
)
def test_what_is_no_report_counts_as_one(data: bytes) -> None:
    assert read_report(data) == (Report(), 1)


def test_a_report_is_bounded() -> None:
    padding = " " * LONGEST_REPORT
    assert read_report(f'{{"step": 1}}{padding}'.encode()) == (Report(), 1)


def test_progress_keeps_each_value_of_its_newest_report() -> None:
    first = Report(percentage=10, remaining=90, metrics={"loss": 2})
    later = Report(step=5, metrics={"accuracy": 0.5})
    found = Progress(attempt=1, at=AT).updated(first, at=AT, seconds=10, dropped=1)
    found = found.updated(later, at=AT + timedelta(seconds=30), seconds=40, dropped=2)
    assert (found.percentage, found.step, found.remaining) == (10, 5, 60)
    assert (found.metrics, found.dropped) == ({"loss": 2, "accuracy": 0.5}, 3)
    assert found.remaining_at(AT + timedelta(seconds=50)) == 40
    assert found.remaining_at(AT + timedelta(days=1)) == 0


def test_without_an_estimate_the_remaining_time_follows_from_the_percentage() -> None:
    found = Progress(attempt=1, at=AT).updated(Report(percentage=25), at=AT, seconds=30, dropped=0)
    assert found.remaining_at(AT) == 90
    nothing = Progress(attempt=1, at=AT).updated(Report(step=1), at=AT, seconds=30, dropped=0)
    assert nothing.remaining_at(AT) is None


def test_the_format_of_curves_is_kept() -> None:
    curves = Curves()
    written = [next(iter(curves.lines()))]
    for number in range(3):
        values = {"loss": 1 / (number + 1), **({"täglich": 3} if number == 1 else {})}
        given = Report(percentage=number * 50, step=number * 10, metrics=values)
        line, thinned = curves.add(given, number * 1.5)
        written.append(line)
        assert not thinned
    line, _ = curves.add(Report(remaining=3), 9)
    assert line == ""
    assert (
        "".join(written) == "".join(curves.lines()) == kept("progress-v1.jsonl", "".join(written))
    )


def test_curves_are_read_as_they_were_written() -> None:
    curves = Curves()
    for number in range(2000):
        curves.add(Report(step=number, percentage=number / 20, metrics={"loss": number}), number)
    found = read_curves(line.encode() for line in curves.lines())
    assert found is not None
    assert (found.metrics, found.percentage) == (curves.metrics, curves.percentage)


@pytest.mark.parametrize("count", [1, MOST_POINTS, MOST_POINTS + 1, 20_000])
def test_points_are_thinned_evenly_over_the_attempt(count: int) -> None:
    curves = Curves()
    for number in range(count):
        curves.add(Report(metrics={"loss": number}), number)
    (points,) = curves.metrics.values()
    assert len(points) <= MOST_POINTS
    assert points[0].seconds == 0
    gaps = {b.seconds - a.seconds for a, b in itertools.pairwise(points)}
    assert len(gaps) <= 1
    assert points[-1].seconds > count - 1 - max(gaps, default=1)


@pytest.mark.parametrize("before", [10, 300, 20_000])
@pytest.mark.parametrize("after", [10, 20_000])
def test_curves_that_are_continued_stay_as_dense(before: int, after: int) -> None:
    kept, later = Curves(), Curves()
    for number in range(before):
        kept.add(Report(metrics={"loss": number}), number)
    for number in range(before, before + 5):
        later.add(Report(metrics={"loss": number}), number)
    found = continued_curves((line.encode() for line in kept.lines()), later)
    for number in range(before + 5, before + after):
        found.add(Report(metrics={"loss": number}), number)
    (points,) = found.metrics.values()
    assert len(points) <= MOST_POINTS
    assert points[0].value == 0
    gaps = [b.seconds - a.seconds for a, b in itertools.pairwise(points)]
    assert max(gaps) <= 5 * min(gaps)
    assert points[-1].seconds > before + after - 1 - max(gaps)


def test_curves_of_another_version_are_not_continued() -> None:
    later = Curves()
    later.add(Report(metrics={"loss": 1}), 1)
    assert continued_curves([b'{"version": 9}\n'], later) is later


def test_a_rare_metric_is_not_thinned_with_a_frequent_one() -> None:
    curves = Curves()
    for number in range(10_000):
        rare = {"accuracy": number} if number % 1000 == 999 else {}
        curves.add(Report(metrics={"loss": number, **rare}), number)
    assert len(curves.metrics["accuracy"]) == 10


def test_lines_that_cannot_be_used_are_passed_over() -> None:
    lines = [
        b'{"version": 1}\n',
        b'{"seconds": 1, "metrics": {"loss": 3}}\n',
        b'{"seconds": 0.5, "metrics": {"loss": 9}}\n',
        b'{"seconds": -1, "metrics": {"loss": 9}}\n',
        b'{"metrics": {"loss": 9}}\n',
        b"\xff\n",
        b'{"seconds": 2, "metrics": {"loss": 2, "bad": "x"}}\n',
        b'{"seconds": 3, "metr',
    ]
    found = read_curves(lines)
    assert found is not None
    assert [(p.seconds, p.value) for p in found.metrics["loss"]] == [(1, 3), (2, 2)]
    assert read_curves([b'{"version": 2}\n', *lines[1:]]) is None
    assert read_curves([]) is None
