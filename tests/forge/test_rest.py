"""Answers of a forge that are JSON, and of no form that a program bears."""

from __future__ import annotations

import msgspec

from reconciler.forge.rest import items


class _Item(msgspec.Struct):
    number: int


def test_an_item_that_is_nested_without_an_end_is_skipped() -> None:
    deep = msgspec.Raw(b'{"number": 1, "more": ' + b"[" * 100_000)
    assert items([deep, msgspec.Raw(b'{"number": 2}')], _Item) == [_Item(2)]
