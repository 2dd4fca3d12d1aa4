"""docs/performance.md, written from the JSON of a run."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.figures import Figure, load_figures, shown
from benchmarks.ranges import read_run

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
#: The run that the page is written from.
RUN = Path(__file__).with_name("figures.json")
#: By the names of figures, why each misses its aim, and which bound stands in the way: reviewed.
BOUNDS = Path(__file__).with_name("bounds.yaml")

_TEXT = """\
# Performance

What the daemon and its commands cost, each beside a baseline that was measured in the same run:
what cannot be left out, done by hand. A ratio stays when the machine is slower or busy with
something else; the absolute values do not. This page is written by `python -m benchmarks.report`
from `benchmarks/figures.json`; `make bench` measures anew.

{machine}

| figure | median | baseline | ratio | least, largest | aim |
|---|---|---|---|---|---|
{rows}

Each figure has at least five rounds of it and its baseline, as near to each other as they can be;
the ratio is the median of the rounds' ratios. The control plane is a real one, on the same
machine and cores as the daemon, so what the API server takes is in both. An aim is what we want; a
figure in **bold** misses it.

`make bench-check` measures, and fails on a ratio that has left its range in
`benchmarks/ranges.yaml`: three standard deviations of the rounds of the reviewed runs, and at least
15 %. Ranges are of one kind of machine; on another, nothing is compared.
{missed}"""


_MISSED = """
## What stands in the way

| figure | missed by | why, and which bound stands in the way |
|---|---|---|
{rows}
"""


def read_bounds(file: Path = BOUNDS) -> dict[str, str]:
    """Read bounds.yaml."""
    content: dict[str, str] = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return {name: " ".join(text.split()) for name, text in content.items()}


def page(run: Mapping[str, Any], bounds: Mapping[str, str]) -> str:
    """Return the text of the page."""
    machine = run["machine"]
    told = (
        f"Measured on {run['measured'][:10]} at commit `{run['commit']}`, on {machine['cores']} "
        f"shared cores with {machine['memoryGiB']} GiB, {machine['system']}, Python "
        f"{machine['python']}."
    )
    figures = load_figures(run)
    missed = "\n".join(_missed(figures, bounds))
    return _TEXT.format(
        machine=told,
        rows="\n".join(_rows(figures)),
        missed=_MISSED.format(rows=missed) if missed else "",
    )


def _missed(figures: Iterable[Figure], bounds: Mapping[str, str]) -> Iterator[str]:
    for figure in figures:
        if figure.missed:
            why = bounds.get(figure.name, "not reviewed yet")
            yield f"| {figure.title} | {', '.join(_excesses(figure))} | {why} |"


def _excesses(figure: Figure) -> Iterator[str]:
    """Yield by how much the ratio and the value are above their aims."""
    value = statistics.median(figure.values)
    if figure.aim is not None and figure.ratio > figure.aim:
        yield f"{figure.ratio / figure.aim - 1:.0%} of the ratio"
    if figure.aim_value is not None and value > figure.aim_value:
        yield shown(value - figure.aim_value, figure.unit)


def _rows(figures: Iterable[Figure]) -> Iterator[str]:
    for figure in figures:
        value = shown(statistics.median(figure.values), figure.unit)
        beside = f"{shown(figure.beside, figure.unit)}, {figure.baseline}"
        aims = [f"{figure.aim:g}"] if figure.aim is not None else []
        if figure.aim_value is not None:
            aims.append(shown(figure.aim_value, figure.unit))
        mark = "**" if figure.missed else ""
        spread = f"{min(figure.ratios):.2f}, {max(figure.ratios):.2f}"
        yield (
            f"| {figure.title} | {value} | {beside} "
            f"| {mark}{figure.ratio:.2f}{mark} | {spread} | {', '.join(aims)} |"
        )


def main() -> None:
    """Write the page from a run, which becomes the one that is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=main.__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=RUN, metavar="FILE")
    chosen = parser.parse_args()
    run = read_run(chosen.run)
    if chosen.run != RUN:
        RUN.write_text(chosen.run.read_text(encoding="utf-8"), encoding="utf-8")
    PAGE.write_text(page(run, read_bounds()), encoding="utf-8")


if __name__ == "__main__":
    main()
