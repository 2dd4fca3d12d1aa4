"""Tables, on a terminal of any width and without one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from reconciler.cli.artifacts import Artifact, _artifact_table
from reconciler.cli.status import _history_table, _Order
from reconciler.cli.table import Column, Listing, console, object_table
from reconciler.planner import HistoryEntry, ObjectStatus, Phase, Prices, TaskPhase, TaskStatus
from reconciler.types import TaskKey, TaskKind
from tests.planner.world import model

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LONG = " ".join(["because"] * 40)
ID = "396c279cf35e"


def printed(shown: RenderableType, width: int) -> list[str]:
    screen = StringIO()
    Console(file=screen, width=width).print(shown, crop=False)
    return screen.getvalue().splitlines()


def words(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def test_a_reason_is_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    records = [
        ObjectStatus(ref=model("a"), phase=Phase.FAILED, message=LONG),
        ObjectStatus(ref=model("b"), phase=Phase.WAITING, message="waiting"),
    ]
    console().print(object_table(records))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith(f"  {LONG}")
    assert lines[3].startswith("Model   b")
    assert len(lines) == 4


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_message_that_is_too_long_for_its_row_is_whole_below_it(width: int) -> None:
    held = ObjectStatus(ref=model("a"), phase=Phase.HELD, message=f"{LONG} {ID}")
    lines = printed(object_table([held, ObjectStatus(ref=model("b"), phase=Phase.READY)]), width)
    assert f"{LONG} {ID}" in words(lines)
    assert lines[2].startswith("Model   a")
    assert lines[-1].startswith(("Model   b", "    phase"))
    assert max(map(len, lines)) <= width


def test_a_display_that_is_drawn_anew_has_a_line_for_each_object() -> None:
    held = ObjectStatus(ref=model("a"), phase=Phase.HELD, message=LONG)
    lines = printed(object_table([held], compact=True), 80)
    assert len(lines) == 3
    assert lines[2].endswith("…")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_history_loses_nothing_at_any_width(width: int) -> None:
    entry = HistoryEntry(
        task=TaskKind.TRAIN,
        key=TaskKey("f7776e0ee1cf" + "0" * 28),
        phase=TaskPhase.SUCCEEDED,
        finished=NOW,
        metrics={"accuracy": 0.9778, "loss": 0.1081, "accuracy_before": 0.0444},
        params={"epochs": 20, "hidden": 48, "learning_rate": 0.1},
    )
    record = ObjectStatus(ref=model("digits-base"), phase=Phase.READY, history=(entry,))
    lines = printed(_history_table([record], _Order(), Prices()), width)
    told = words(lines)
    for text in (
        "digits-base",
        "2026-03-02 09:00",
        "f7776e0ee1cf",
        "Succeeded",
        "accuracy 0.9778,",
        "loss 0.1081,",
        "accuracy_before 0.0444",
        "epochs=20,",
        "learning_rate=0.1",
    ):
        assert text in told
    assert max(map(len, lines)) <= width


def test_artifacts_keep_to_the_width_but_for_a_url_to_be_copied() -> None:
    url = f"s3://bucket/{'folder/' * 20}"
    artifact = Artifact(
        ref=model("a"),
        key=TaskKey("f" * 40),
        url=url,
        finished=NOW,
        used=tuple(("base of", model(f"other-{number}")) for number in range(3)),
        removed=False,
        size=1024,
    )
    lines = printed(_artifact_table([artifact], wide=True), 60)
    assert f"    url      {url}" in lines
    assert max(len(line) for line in lines if url not in line) <= 60
    assert "base of other-0, other-1, other-2" in words(lines)
    short = printed(_artifact_table([artifact], wide=False), 90)
    assert not any(url in line for line in short)
    assert short[-1] == "Left out, as the terminal is too narrow: URL; -o wide prints all."
    assert any(url in line for line in printed(_artifact_table([artifact], wide=False), 400))


def test_columns_that_may_be_dropped_go_one_by_one_and_are_named() -> None:
    table = Listing(Column("KEY"), Column("LOSS", drop=1), Column("CODE", drop=2))
    table.add("k" * 10, "l" * 10, "c" * 10)
    rows = words(["KEY LOSS CODE", "─" * 36, "k" * 10, "l" * 10, "c" * 10])
    assert words(printed(table, 36)) == rows
    told = "Left out, as the terminal is too narrow:"
    assert words(printed(table, 35)).endswith(f"{told} CODE; -o wide prints all.")
    assert words(printed(table, 15)).endswith(f"{told} LOSS, CODE; -o wide prints all.")


def test_a_shared_build_counts_in_the_time_of_the_first_object() -> None:
    def record(name: str, *, train: int) -> ObjectStatus:
        tasks = [(TaskKind.BUILD, "b", 40), (TaskKind.TRAIN, name, train)]
        return ObjectStatus(
            ref=model(name),
            phase=Phase.READY,
            tasks=tuple(
                TaskStatus(
                    task=kind,
                    key=TaskKey(key),
                    phase=TaskPhase.SUCCEEDED,
                    started=NOW,
                    finished=NOW + timedelta(seconds=took),
                )
                for kind, key, took in tasks
            ),
        )

    records = [record("a", train=1), record("c", train=2)]
    both = printed(object_table(records), 80)
    assert [line.split()[-1] for line in both[2:]] == ["41s", "2s"]
    alone = printed(object_table(records[1:], among=records), 80)
    assert alone[2].split()[-1] == "2s"
