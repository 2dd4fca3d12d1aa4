"""What is made of identical inputs is made once, and what differs is made again."""

from __future__ import annotations

import pytest

from reconciler.planner.plan_cache import CacheEntry, PlanCache
from tests.planner.world import World, scratch


class Rows:
    """A table of what each row's text is in capitals, and the rows that were made."""

    def __init__(self) -> None:
        self.cache = PlanCache()
        self.made: list[str] = []

    def read(self, common: object = None, **rows: str) -> dict[str, str]:
        self.made.clear()
        self.found = self.cache.table("rows", rows, self._make, common)
        return dict(self.found)

    def _make(self, key: str, row: str) -> str | None:
        self.made.append(key)
        return row.upper() or None


def test_a_value_is_kept_while_each_input_is_the_same_text_or_object() -> None:
    cache, one, made = PlanCache(), [1], []

    def make(last: CacheEntry[int] | None) -> int:
        made.append(last)
        return len(made)

    assert cache.value("n", (one, "a text"), make) == 1
    assert cache.value("n", (one, " a text"[1:]), make) == 1
    assert cache.value("n", ([1], "a text"), make) == 2, "it is equal, and another"
    assert made == [None, CacheEntry((one, "a text"), 1)]


def test_only_rows_that_differ_are_made() -> None:
    rows = Rows()
    assert rows.read(a="x", b="y") == {"a": "X", "b": "Y"}
    assert rows.read(a="x", b="z", c="w") == {"a": "X", "b": "Z", "c": "W"}
    assert sorted(rows.made) == ["b", "c"]
    assert rows.read(b="z") == {"b": "Z"}
    assert rows.made == []
    assert rows.read(common=rows, b="z", c="w") == {"b": "Z", "c": "W"}
    assert sorted(rows.made) == ["b", "c"]


def test_a_row_of_which_nothing_is_made_is_left_out() -> None:
    rows = Rows()
    assert rows.read(a="", b="y") == {"b": "Y"}
    assert list(rows.read(a="x", b="y")) == ["a", "b"]
    assert rows.read(a="", b="z") == {"b": "Z"}


def test_a_table_is_the_very_same_where_no_result_differs() -> None:
    rows = Rows()
    rows.read(a="x", b="y")
    before = rows.found
    rows.read(a="X", b="y")
    assert rows.found is before
    assert rows.made == ["a"]


def test_a_mapping_that_is_changed_in_place_is_copied_when_it_was() -> None:
    cache, rows = PlanCache(), {"a": [1]}
    before = cache.snapshot("rows", rows)
    assert cache.snapshot("rows", rows) is before
    rows["b"] = [2]
    assert cache.snapshot("rows", rows) == rows != before


def test_equal_rows_are_replaced_by_the_last_ones() -> None:
    cache, one, two = PlanCache(), [1], [2]
    before = cache.same("rows", {"a": one, "b": two})
    assert cache.same("rows", {"a": [1], "b": [2]}) is before
    assert cache.same("rows", {"a": [1], "b": [3]})["a"] is one


def test_an_error_drops_everything() -> None:
    world = World({"a.yaml": scratch("a")})
    world.settle()
    world.sync()
    assert world.plan().decided == {}
    with pytest.raises(KeyError), world.cache:
        raise KeyError
    assert world.plan().decided.keys() == world.records.keys()
