"""A sweep on the local engine: one object, a run for each combination, the best is its artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.site import Site

#: Accuracy follows the rate; a rate of 13 fails.
TRAIN = (
    'echo "rate $PARAM_RATE"\n'
    'test "$PARAM_RATE" != 13 || exit 1\n'
    'echo "{\\"accuracy\\": $PARAM_RATE}" > "$MODEL_DIR/metrics.json"\n'
    'echo good > "$MODEL_DIR/weights"\n'
)


def matrix(rates: str, best: str = "{metric: accuracy, goal: maximize}") -> str:
    return f"    matrix: {{params: {{rate: {rates}}}, best: {best}}}\n"


def command(site: Site, *arguments: str) -> str:
    done = site.call(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def variants(site: Site) -> dict[int, dict[str, Any]]:
    return {v["params"]["rate"]: v for v in site.statuses()["m"]["variants"]}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with a training that was made before there was a sweep, of rate 1."""
    found = Site(tmp_path)
    found.trained("m", TRAIN, params={"rate": 1, "epochs": 3})
    assert found.sync().returncode == 0
    assert found.ran() == {"m": 1}
    return found


def test_a_sweep_from_its_first_training_to_one_value_more(site: Site) -> None:
    plain = site.statuses()["m"]["artifact"]["key"]
    site.scratch("m", params={"epochs": 3}, more=matrix("[1, 2, 13]"))
    site.finetune("next", "m", params={"rate": 5})
    site.script("src/m/train.sh", TRAIN)
    site.sync()
    assert site.ran() == {"m": 2, "next": 1}, "what was made before the sweep counts"
    status, found = site.statuses()["m"], variants(site)
    assert status["phase"] == "Ready"
    assert found[1]["key"] == plain
    assert status["artifact"]["key"] == found[2]["key"]
    assert (site.artifact("m") / "metrics.json").read_text() == '{"accuracy": 2}\n'
    assert found[13]["phase"] == "Failed"
    (failed,) = (c for c in status["conditions"] if c["type"] == "VariantsFailed")
    assert failed["message"].startswith("1 of 3 variants failed; the first: train.sh ended with")
    assert json.loads(site_marker(site, "next"))["base"]["key"] == found[2]["key"]

    # What the command line says of it.
    told = command(site, "status", "m")
    assert "3 variants: 2 complete, 1 failed" in told
    assert f"{found[2]['key'][:12]} (best)   2" in told
    assert "rate 13" in command(site, "logs", found[13]["key"][:12])
    assert "train (rate=1): complete" in command(site, "why", "m")
    rows = json.loads(command(site, "compare", "m", "--format", "json"))
    assert {row["params"]["rate"] for row in rows["artifacts"]} == {1, 2}
    assert [row["key"] for row in rows["artifacts"] if row["current"]] == [found[2]["key"]]

    # One value more, a better one, and one that is dropped.
    site.scratch("m", params={"epochs": 3}, more=matrix("[2, 13, 4]"))
    site.sync()
    assert site.ran() == {"m": 1, "next": 1}
    status = site.statuses()["m"]
    assert status["artifact"]["key"] == variants(site)[4]["key"]
    assert 1 not in variants(site)

    # Another goal needs nothing but what is there.
    site.scratch(
        "m",
        params={"epochs": 3},
        more=matrix("[2, 13, 4]", "{metric: accuracy, goal: minimize}"),
    )
    site.remove("next.yaml")
    site.sync()
    assert site.ran() == {}
    assert site.statuses()["m"]["artifact"]["key"] == found[2]["key"]


def site_marker(site: Site, name: str) -> str:
    return (site.artifact(name) / "completed.json").read_text()


def test_a_dependent_of_a_sweep_without_best_is_refused(site: Site) -> None:
    site.scratch("m", params={"epochs": 3}, more="    matrix: {params: {rate: [1, 2]}}\n")
    site.finetune("next", "m")
    assert site.sync().returncode != 0
    assert site.phases() == {"m": "Ready", "next": "Invalid"}
    assert "artifact" not in site.statuses()["m"]
    assert "add its training.matrix.best" in site.told("next")
