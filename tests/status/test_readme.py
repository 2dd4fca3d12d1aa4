"""The README of the status branch, rendered again and again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from reconciler.planner import ObjectStatus, Phase, Phases, status_path
from reconciler.status import Readme, Shards, Sync
from reconciler.status.shards import MOST_FILES
from reconciler.types import Commit, Kind, ObjectRef

SYNC = Sync(
    cluster="local", instance="i", path="", head=Commit("a" * 40), observed=datetime.now(UTC)
)


def record(name: str, message: str) -> ObjectStatus:
    return ObjectStatus(
        ref=ObjectRef(Kind.MODEL, "default", name), phase=Phase.FAILED, message=message
    )


def text(readme: Readme, *records: ObjectStatus) -> str:
    return readme.render(SYNC, {each.ref: each for each in records}, Phases(records)).decode()


def test_a_row_is_that_of_the_newest_record() -> None:
    a, b = record("a", "no space"), record("b", "no memory")
    readme = Readme(Shards())
    assert text(readme, a, b) == text(Readme(Shards()), a, b)
    changed = replace(a, message="no network")
    assert text(readme, changed, b) == text(Readme(Shards()), changed, b)
    assert "no network" in text(readme, changed, b)
    assert "no memory" not in text(readme, changed)
    assert text(readme, a, b) == text(Readme(Shards()), a, b)


def test_a_row_leads_to_where_the_file_is_by_now() -> None:
    a, shards = record("a", "no space"), Shards()
    readme = Readme(shards)
    path = status_path(a.ref)
    assert f"({path})" in text(readme, a)
    folder = path.rpartition("/")[0]
    shards.divide([path, *(f"{folder}/m{number}.yaml" for number in range(MOST_FILES))])
    assert f"({shards.place(path)})" in text(readme, a)
    assert shards.place(path) != path


def test_no_message_breaks_out_of_its_cell() -> None:
    shown = text(Readme(Shards()), record("a", r"a | ![i](x) \| `b|c`"))
    (row,) = [line for line in shown.splitlines() if line.startswith("| [")]
    assert row.endswith(r"| a \| !\[i\](x) \\\| \`b\|c\` |")
