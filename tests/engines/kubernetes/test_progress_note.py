"""The note of progress on a Lease: bounded, without metrics, and read with care."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.engine import Progress
from reconciler.engines.kubernetes import ReportedProgress, read_note, write_note
from reconciler.engines.kubernetes.progress_note import LONGEST_NOTE

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_note_has_what_runs_have_reported_but_for_metrics() -> None:
    told = Progress(attempt=2, at=AT, percentage=40, remaining=90, metrics={"loss": 1})
    (found,) = read_note(write_note([("r-a", told)])).items()
    assert found == ("r-a", Progress(attempt=2, at=AT, percentage=40, remaining=90))


def test_of_too_many_runs_the_first_are_noted() -> None:
    runs = [(f"r-{n}", Progress(attempt=1, at=AT, percentage=n % 100)) for n in range(1000)]
    note = write_note(runs)
    assert LONGEST_NOTE // 2 < len(note) <= LONGEST_NOTE
    found = list(read_note(note))
    assert found == [run for run, _ in runs[: len(found)]]


def test_only_live_runs_are_noted_the_newest_report_first() -> None:
    live = {"r-a": 1, "r-b": 1, "r-c": 1}
    store = ReportedProgress(live.get)
    for run in live:
        store.take(run, b'{"progressPercentage": 1}')
    store.take("r-a", b'{"progressPercentage": 2}')
    del live["r-b"]
    assert [run for run, _ in store.live()] == ["r-a", "r-c"]


@pytest.mark.parametrize("note", ["", "[1]", "{", '{"r-a": 1}', '{"r-a": {"version": 9}}'])
def test_what_is_no_note_says_nothing(note: str) -> None:
    assert read_note(note) == {}
