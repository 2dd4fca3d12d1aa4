"""docs/performance.md, written from the JSON of a run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import shown
from benchmarks.ranges import read_run

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
#: The run that the page is written from.
RUN = Path(__file__).with_name("figures.json")

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
"""


def page(run: Mapping[str, Any]) -> str:
    """Return the text of the page."""
    machine = run["machine"]
    told = (
        f"Measured on {run['measured'][:10]} at commit `{run['commit']}`, on {machine['cores']} "
        f"shared cores with {machine['memoryGiB']} GiB, {machine['system']}, Python "
        f"{machine['python']}."
    )
    return _TEXT.format(machine=told, rows="\n".join(_rows(run["figures"])))


def _rows(figures: Mapping[str, Any]) -> Iterator[str]:
    for each in figures.values():
        ratio, value = each["ratio"], each["value"]["median"]
        beside = f"{shown(each['beside']['median'], each['unit'])}, {each['baseline']}"
        aims, missed = [], False
        if (aim := each["aim"].get("ratio")) is not None:
            aims.append(f"{aim:g}")
            missed |= ratio["median"] > aim
        if (aim := each["aim"].get("value")) is not None:
            aims.append(shown(aim, each["unit"]))
            missed |= value > aim
        mark = "**" if missed else ""
        spread = f"{ratio['min']:.2f}, {ratio['max']:.2f}"
        yield (
            f"| {each['title']} | {shown(value, each['unit'])} | {beside} "
            f"| {mark}{ratio['median']:.2f}{mark} | {spread} | {', '.join(aims)} |"
        )


def main() -> None:
    """Write the page from a run, which becomes the one that is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=main.__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=RUN, metavar="FILE")
    chosen = parser.parse_args()
    run = read_run(chosen.run)
    if chosen.run != RUN:
        RUN.write_text(chosen.run.read_text(encoding="utf-8"), encoding="utf-8")
    PAGE.write_text(page(run), encoding="utf-8")


if __name__ == "__main__":
    main()
