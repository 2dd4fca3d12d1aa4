"""What is made of the figures of ``make bench``: ranges, their check, and the page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.figures import Figure, dump_figures, load_figures, row
from benchmarks.ranges import (
    RANGES,
    DifferentMachineError,
    Range,
    compare,
    make_ranges,
    read_ranges,
    read_run,
)
from benchmarks.report import PAGE, RUN, page, read_bounds


def figure(ratio: float, name: str = "push") -> Figure:
    rounds = [(2.0 * ratio * noise, 2.0 * noise) for noise in (1.0, 1.5, 0.5)]
    return Figure(name=name, title="push", baseline="by hand", unit="s", rounds=rounds, aim=1.5)


def run(*figures: Figure) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(dump_figures(figures, "a" * 12))
    return made


def ranges() -> dict[str, Any]:
    return make_ranges([run(figure(2.0)), run(figure(2.0))])


def test_a_ratio_is_of_one_round_and_tells_nothing_of_the_machine() -> None:
    assert figure(2.0).ratios == [2.0, 2.0, 2.0]
    assert "4.00 s    2.00 s     2.00    2.00   2.00" in row(figure(2.0))
    assert row(figure(2.0)).endswith("(missed)")
    assert not row(figure(1.5)).endswith("(missed)")


@pytest.mark.parametrize(("ratio", "said"), [(2.2, ""), (2.5, "above"), (1.5, "below")])
def test_a_ratio_that_leaves_its_range_is_told(ratio: float, said: str) -> None:
    out = list(compare(run(figure(ratio)), ranges()))
    assert len(out) == bool(said)
    assert all(f"push: {ratio:.2f} is {said} its range, 1.70 to 2.30" in line for line in out)


def test_a_figure_without_a_range_and_a_range_without_a_figure_are_told() -> None:
    out = list(compare(run(figure(2.0, "jobs")), ranges()))
    assert [line.partition(":")[0] for line in out] == ["jobs", "push"]


def test_figures_of_another_machine_are_not_compared() -> None:
    elsewhere = run(figure(9.0))
    elsewhere["machine"]["cores"] = 4096
    with pytest.raises(DifferentMachineError, match="cores 4096"):
        list(compare(elsewhere, ranges()))


def test_the_page_is_of_the_run_that_is_kept() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read_run(RUN), read_bounds())


def test_each_figure_of_that_run_that_misses_its_aim_has_its_reviewed_cause() -> None:
    figures = load_figures(read_run(RUN))
    assert figures
    assert {each.name for each in figures if each.missed} <= read_bounds().keys()


def test_the_page_says_by_how_much_an_aim_is_missed_and_why() -> None:
    text = page(run(figure(2.0), figure(1.0, "jobs")), {"push": "Git.", "jobs": "The API."})
    assert "| push | 33% of the ratio | Git. |" in text
    assert "The API." not in text
    assert "What stands in the way" not in page(run(figure(1.0)), {})


def test_each_figure_of_that_run_has_a_range() -> None:
    known = read_ranges(RANGES)["figures"]
    assert read_run(RUN)["figures"].keys() == known.keys()
    assert all(each["ratios"] for each in known.values())


def test_rounds_that_vary_make_a_wide_range() -> None:
    varied = Figure(
        name="push", title="push", baseline="by hand", unit="s", rounds=[(1, 1), (2, 1), (3, 1)]
    )
    (known,) = make_ranges([run(varied)])["figures"].values()
    assert (known["mean"], known["deviation"]) == (2.0, 1.0)
    assert Range(2.0, 1.0).bounds == (-1.0, 5.0)
