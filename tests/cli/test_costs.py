"""Recorded costs in tables and files: each with its currency, and as the estimate that it is."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.planner.planner_config import PlannerConfig
from reconciler.planner.prices import Prices
from reconciler.types import Kind, ObjectRef
from tests.cli.conftest import Cli
from tests.cli.example import Example

EUR = PlannerConfig(prices=Prices(currency="EUR", gpus={"any": 30.0}, cpu=3.6))
BASE = ObjectRef(Kind.MODEL, "default", "digits-base")
COST = "COST (ESTIMATE)"


@dataclass
class Priced:
    """The base trained on one GPU, and again for longer on two; a training takes 185 s."""

    example: Example
    first: str
    second: str


def trained_twice(root: Path, settings: PlannerConfig) -> Priced:
    example = Example(root, settings=settings)
    example.edit("models/base.yaml", "    resources: {cpu: 1}", gpus(1))
    example.commit("One GPU")
    example.sync()
    first = key(example)
    example.edit("models/base.yaml", gpus(1), gpus(2))
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Train longer on two")
    example.sync()
    return Priced(example, first, key(example))


def gpus(count: int) -> str:
    return f"    resources: {{cpu: 1, gpu: {{count: {count}}}}}"


def key(example: Example) -> str:
    artifact = example.records[BASE].artifact
    assert artifact is not None
    return artifact.key[:12]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Priced:
    return trained_twice(tmp_path_factory.mktemp("priced") / "clone", EUR)


@pytest.fixture
def priced(made: Priced, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Priced:
    monkeypatch.chdir(made.example.root)
    monkeypatch.setenv("COLUMNS", "300")
    return made


def cells(line: str, head: str) -> dict[str, str]:
    """The cells of a line, by the titles that stand above them."""
    titles = ["NAME", "FINISHED", "TASK", "KEY", "RESULT", "TIME", "GPU HOURS", COST, "METRICS"]
    starts = [head.index(title) for title in titles]
    places = zip(titles, starts, starts[1:], strict=False)
    return {title: line[start:end].strip() for title, start, end in places}


def test_a_history_has_the_time_gpu_hours_and_estimated_cost_of_each_run(
    priced: Priced, cli: Cli
) -> None:
    head, *lines = cli("status", "--history", "digits-base", code=0).out.splitlines()
    rows = [cells(line, head) for line in lines if line.startswith("digits-base")]
    runs = {(r["TASK"], r["KEY"]): (r["TIME"], r["GPU HOURS"], r[COST]) for r in rows}
    assert runs["train", priced.first] == ("3m05s", "0.05", "EUR 1.73")
    assert runs["train", priced.second] == ("3m05s", "0.10", "EUR 3.27")
    tests = {found for (task, _), found in runs.items() if task == "evaluate"}
    assert tests == {("30s", "", "EUR 0.0300")}, "no GPU was asked for"
    builds = {found for (task, _), found in runs.items() if task == "build"}
    assert builds == {("40s", "", "")}, "a build asks for nothing that has a price"


def test_without_prices_no_table_has_a_column_of_costs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = trained_twice(tmp_path / "clone", PlannerConfig())
    monkeypatch.chdir(free.example.root)
    history = cli("status", "--history", "digits-base", code=0).out
    assert "GPU HOURS" in history
    assert "COST" not in history
    assert "COST" not in cli("compare", "digits-base", code=0).out


def test_the_configured_currency_stands_for_a_status_that_names_none(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nameless = PlannerConfig(prices=Prices(gpus={"any": 36.0}))
    root = trained_twice(tmp_path / "clone", nameless).example.root
    monkeypatch.chdir(root)
    assert "| 3.70 |" in cli("compare", "digits-base", "--format", "markdown", code=0).out
    config = {"repository": {"url": str(root)}, "prices": {"currency": "EUR", "cpu": 1}}
    (root / "reconciler.yaml").write_text(json.dumps(config))
    assert "| EUR 3.70 |" in cli("compare", "digits-base", "--format", "markdown", code=0).out


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_a_table_of_artifacts_has_costs_with_their_currency(
    priced: Priced, cli: Cli, style: str
) -> None:
    head, *lines = cli("compare", "digits-base", "--format", style, code=0).out.splitlines()
    assert (COST if style == "text" else COST.lower()) in head.replace("\\", "")
    (first,) = [line for line in lines if priced.first in line]
    (second,) = [line for line in lines if priced.second in line]
    assert "EUR 1.73" in first
    assert "EUR 3.27" in second


def test_programs_read_costs_with_currency_and_basis(priced: Priced, cli: Cli) -> None:
    said = cli("compare", "digits-base", "--format", "csv", code=0).out
    rows = list(csv.DictReader(io.StringIO(said)))
    assert [(row["cost"], row["currency"], row["costBasis"]) for row in rows] == [
        ("3.268333", "EUR", "estimate"),
        ("1.726667", "EUR", "estimate"),
    ]
    found = json.loads(cli("compare", "digits-base", "--format", "json", code=0).out)
    assert (found["currency"], found["costBasis"]) == ("EUR", "estimate")
    assert [row["cost"] for row in found["artifacts"]] == [3.268333, 1.726667]


def test_artifacts_are_sorted_by_cost_either_way(priced: Priced, cli: Cli) -> None:
    def sorted_by(order: str) -> list[str]:
        said = cli("compare", "digits-base", "--sort", order, "--format", "csv", code=0).out
        return [row["key"][:12] for row in csv.DictReader(io.StringIO(said))]

    assert sorted_by("cost") == [priced.second, priced.first]
    assert sorted_by("cost:asc") == [priced.first, priced.second]
