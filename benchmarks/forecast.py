"""The error of forecasts, over trainings of the examples with varied params.

Each round changes params of every model of examples-repo, asks `reconciler plan` for the forecast
of each training, and runs the change on the local engine. The error of a forecast is that of its
p50, relative to the time that was recorded. What had no history is counted as unknown. It fails
if the median error of all that are known is above `BOUND`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROUNDS = 10
FEWEST = 60
#: The largest median error, as a share of the time taken.
BOUND = 0.25


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a plan said of one training; ``p50`` and ``p90`` in seconds, None if unknown."""

    basis: str
    p50: float | None
    p90: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A forecast, and the seconds that its training took."""

    forecast: Forecast
    seconds: float

    @property
    def error(self) -> float:
        """The relative error of the p50, of a forecast that is known."""
        assert self.forecast.p50 is not None
        return abs(self.forecast.p50 - self.seconds) / self.seconds


def main() -> None:
    """Print a row for each basis of forecasts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "manifests"
        _reconciler(Path(place), "init", str(folder))
        (folder / "models" / "from-image.yaml").unlink()
        _change(folder, lambda spec: spec.get("evaluation", {}).pop("require", None))
        _commit(folder)
        _reconciler(folder, "run", "--once")
        measured: list[Measured] = []
        for done in range(ROUNDS):
            _change(folder, lambda spec: _vary(spec, draw))
            told = _forecasts(folder)
            _commit(folder)
            _reconciler(folder, "run", "--once")
            taken = _seconds(folder)
            measured += [Measured(told[key], taken[key]) for key in told if key in taken]
            print(f"round {done + 1} of {ROUNDS}: {len(measured)} trainings", flush=True)
    if len(measured) < FEWEST:
        raise SystemExit(f"{len(measured)} trainings are too few, {FEWEST} are needed")
    median = _report(measured)
    if median > BOUND:
        raise SystemExit(f"the median error is above {BOUND:.0%}")


def _report(measured: list[Measured]) -> float:
    """Print the errors by the basis of the forecasts; return the median of all."""
    known = [each for each in measured if each.forecast.p50 is not None]
    print(f"{'basis':<8}{'trainings':>10}{'error: median':>15}{'90 %':>8}{'below p90':>11}")
    for basis in ("own", "kin", "all"):
        rows = [each for each in known if basis in ("all", each.forecast.basis)]
        if len(rows) < 2:
            continue
        errors = [each.error for each in rows]
        below = sum(each.seconds <= (each.forecast.p90 or 0) for each in rows)
        print(
            f"{basis:<8}{len(rows):>10}{statistics.median(errors):>15.0%}"
            f"{statistics.quantiles(errors, n=10)[-1]:>8.0%}{below / len(rows):>11.0%}"
        )
    print(f"unknown {len(measured) - len(known):>10}")
    return statistics.median(each.error for each in known)


def _vary(spec: dict[str, Any], draw: random.Random) -> None:
    training = spec.get("training")
    if training is None:
        return
    params = training["params"]
    params["epochs"] = draw.randint(20, 120)
    if "learning_rate" in params:
        params["learning_rate"] = round(draw.uniform(0.02, 0.2), 3)
    if "hidden" in params:
        params["hidden"] = draw.choice([32, 48, 64])


def _change(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    yaml = YAML()
    for file in sorted((folder / "models").glob("*.yaml")):
        documents = list(yaml.load_all(file))
        for document in documents:
            change(document["spec"])
        yaml.dump_all(documents, file)


def _forecasts(folder: Path) -> dict[str, Forecast]:
    """Return what a plan of the working tree says of trainings, by key."""
    plan = json.loads(_reconciler(folder, "plan", "--base", "HEAD", "--format", "json"))
    return {action["key"]: forecast for action, forecast in _trainings(plan["actions"])}


def _trainings(actions: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Forecast]]:
    for action in actions:
        told = action["forecast"]
        if action["task"] == "train" and told is not None:
            seconds = told["seconds"] or {"p50": None, "p90": None}
            yield action, Forecast(told["basis"], seconds["p50"], seconds["p90"])


def _seconds(folder: Path) -> dict[str, float]:
    """Return the recorded seconds of complete trainings, by key."""
    objects = json.loads(_reconciler(folder, "status", "--format", "json"))
    return {
        entry["key"]: entry["seconds"]
        for each in objects
        for entry in each["status"].get("history", ())
        if entry["task"] == "train" and entry["phase"] == "Succeeded"
    }


def _commit(folder: Path) -> None:
    git = ("git", "-C", str(folder), "-c", "user.name=bench", "-c", "user.email=bench@localhost")
    subprocess.run([*git, "commit", "--quiet", "--all", "-m", "Vary the params"], check=True)


def _reconciler(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 2):  # 2: a plan with changes
        raise SystemExit(done.stderr or done.stdout)
    return done.stdout


if __name__ == "__main__":
    main()
