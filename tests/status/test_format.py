"""A status file that somebody has edited is read, or named with what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.planner.ledger import Ledger
from reconciler.status.encoding import StatusFormatError, dump_record, dump_yaml, load_record
from reconciler.status.encoding import load_yaml as load

GOLDEN = Path(__file__).parents[1] / "golden" / "status-v1.yaml"
DOCUMENT = load("status-v1.yaml", GOLDEN.read_bytes())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, but the whole."""
    inner = enumerate(value) if isinstance(value, list) else ()
    for name, each in value.items() if isinstance(value, dict) else inner:
        yield (*path, name)
        yield from places(each, (*path, name))


@pytest.mark.parametrize("edit", [None, 5, "x", True, [1], {"a": 1}], ids=str)
def test_an_edit_anywhere_is_read_or_told_with_the_file(edit: Any) -> None:
    for path in places(DOCUMENT):
        document = copy.deepcopy(DOCUMENT)
        inner = document
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = edit
        try:
            record = load_record("a.yaml", dump_yaml(document))
        except StatusFormatError:
            continue
        Ledger().learn_record(record)
        load_record("a.yaml", dump_record(record))  # what is written of it is read again


def test_a_time_that_is_empty_is_told_with_the_file() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["status"]["conditions"][0]["lastTransitionTime"] = None
    with pytest.raises(StatusFormatError, match=r"a\.yaml on the status branch cannot be read"):
        load_record("a.yaml", dump_yaml(document))
