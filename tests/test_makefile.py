"""The targets of the Makefile call what is there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

TEXT = (Path(__file__).parent.parent / "Makefile").read_text()
MODULES = sorted(set(re.findall(r"python -m ((?:benchmarks|tests|tools|reconciler)[\w.]*)", TEXT)))


def test_each_module_that_a_target_runs_is_there() -> None:
    assert len(MODULES) > 5
    missing = [name for name in MODULES if find_spec(name) is None]
    assert not missing


def test_a_target_that_is_needed_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):", TEXT, flags=re.MULTILINE))
    needed = {
        each
        for line in re.findall(r"^[a-z-]+:([^#\n=]*)", TEXT, flags=re.MULTILINE)
        for each in line.split()
        if re.fullmatch("[a-z-]+", each)
    }
    assert needed <= targets
