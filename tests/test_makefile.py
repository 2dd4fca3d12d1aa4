"""The targets of the Makefile call what is there."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

from tests.cluster.__main__ import build

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Makefile").read_text()
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


def test_each_part_that_a_target_builds_can_be_asked_for() -> None:
    asked = set(re.findall(r"tests\.cluster build (--\w+)", TEXT))
    assert len(asked) > 3
    assert asked == {option for parameter in build.params for option in parameter.opts}


def test_each_mark_that_a_target_chooses_is_one() -> None:
    chosen = set(re.findall(r"-m (\w+)$", TEXT, flags=re.MULTILINE))
    assert len(chosen) > 3
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    marks = project["tool"]["pytest"]["ini_options"]["markers"]
    assert chosen <= {mark.partition(":")[0] for mark in marks}


def test_each_target_of_tests_is_named_where_contributors_look() -> None:
    targets = set(re.findall(r"^(test-[a-z]+):", TEXT, flags=re.MULTILINE))
    assert len(targets) > 5
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text()
        assert not {target for target in targets if target not in text}, page
