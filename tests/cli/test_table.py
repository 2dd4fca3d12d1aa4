"""The table of objects, where nobody looks at it through a window."""

from __future__ import annotations

import pytest

from reconciler.cli.table import console, object_table
from reconciler.planner.object_status import ObjectStatus, Phase
from tests.planner.world import model


def test_a_reason_is_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(["because"] * 200)
    records = [
        ObjectStatus(ref=model("a"), phase=Phase.FAILED, message=long),
        ObjectStatus(ref=model("b"), phase=Phase.WAITING, message="waiting"),
    ]
    console().print(object_table(records))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith(f"  {long}")
    assert lines[3].startswith("Model   b")
    assert len(lines) == 4
