"""The reviewed ranges of ratios, made from runs and compared with another."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.figures import FORMAT, load_figures

RANGES = Path(__file__).with_name("ranges.yaml")
#: A range is so many deviations wide to each side, and at least so much of the mean: rounds that
#: agree by chance would make a range that the next run leaves.
DEVIATIONS = 3.0
LEAST = 0.15


@dataclass(frozen=True, slots=True)
class Range:
    """The mean of a figure's ratio, and the standard deviation of its rounds."""

    mean: float
    deviation: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest ratio within."""
        width = max(DEVIATIONS * self.deviation, LEAST * self.mean)
        return self.mean - width, self.mean + width


class DifferentMachineError(Exception):
    """The figures were measured on another machine than the ranges."""


def read_run(file: Path) -> dict[str, Any]:
    """Read the JSON of a run."""
    run: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if run.get("format") != FORMAT:
        raise ValueError(f"{file} has format {run.get('format')}, not {FORMAT}")
    return run


def ratios_of(run: Mapping[str, Any]) -> dict[str, float]:
    """Return the median ratio of each figure of a run."""
    return {figure.name: figure.ratio for figure in load_figures(run)}


def make_ranges(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make the content of ranges.yaml from runs of one machine.

    The deviation is that of the rounds of all runs: it is more than that of medians, and known
    from the first run on.
    """
    machines = [run["machine"] for run in runs]
    if any(machine != machines[0] for machine in machines):
        raise DifferentMachineError("these runs are of different machines")
    medians: dict[str, list[float]] = {}
    rounds: dict[str, list[float]] = {}
    for run in runs:
        for figure in load_figures(run):
            medians.setdefault(figure.name, []).append(round(figure.ratio, 3))
            rounds.setdefault(figure.name, []).extend(figure.ratios)
    return {
        "format": FORMAT,
        "machine": machines[0],
        "runs": [{"measured": run["measured"], "commit": run["commit"]} for run in runs],
        "figures": {
            name: {
                "mean": round(statistics.mean(ratios), 3),
                "deviation": round(statistics.stdev(rounds[name]), 3),
                "ratios": ratios,
            }
            for name, ratios in medians.items()
        },
    }


def compare(run: Mapping[str, Any], ranges: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each figure that is out of its range, or has none.

    Raises DifferentMachineError.
    """
    if run["machine"] != ranges["machine"]:
        raise DifferentMachineError(
            f"the ranges are of {_machine(ranges)}, the figures of {_machine(run)}"
        )
    ratios = ratios_of(run)
    for name, ratio in ratios.items():
        known = ranges["figures"].get(name)
        if known is None:
            yield f"{name}: {ratio:.2f} has no range; add one with python -m benchmarks.ranges"
            continue
        least, largest = Range(known["mean"], known["deviation"]).bounds
        if ratio > largest:
            yield f"{name}: {ratio:.2f} is above its range, {least:.2f} to {largest:.2f}"
        elif ratio < least:
            yield (
                f"{name}: {ratio:.2f} is below its range, {least:.2f} to {largest:.2f}: "
                f"where that is meant, make the ranges anew"
            )
    for name in ranges["figures"].keys() - ratios.keys():
        yield f"{name}: not measured"


def _machine(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in document["machine"].items())


def write_ranges(content: Mapping[str, Any], file: Path) -> None:
    """Write ranges.yaml."""
    yaml = YAML()
    yaml.width = 110
    with file.open("w", encoding="utf-8") as stream:
        stream.write("# Ratios of reviewed runs, written by python -m benchmarks.ranges.\n")
        yaml.dump(dict(content), stream)


def read_ranges(file: Path) -> dict[str, Any]:
    """Read ranges.yaml."""
    content: dict[str, Any] = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return content


def main() -> None:
    """Write ranges.yaml from the JSON of reviewed runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranges", description=main.__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    write_ranges(make_ranges([read_run(file) for file in chosen.runs]), RANGES)


if __name__ == "__main__":
    main()
