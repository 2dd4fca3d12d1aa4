"""Figures: what was measured beside a baseline of the same run, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: The version of the JSON.
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure, and what it is compared with.

    ``rounds`` are pairs of what was measured and of the baseline beside it, in ``unit``. The ratio
    of each round is a ratio of values of one minute, so that what else the machine does is in both.
    ``aim`` is the largest ratio that is wanted, ``aim_value`` the largest value.
    """

    name: str
    title: str
    baseline: str
    unit: str
    rounds: Sequence[tuple[float, float]]
    aim: float | None = None
    aim_value: float | None = None

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round."""
        return [value / beside for value, beside in self.rounds]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios)

    @property
    def values(self) -> list[float]:
        """What was measured in each round."""
        return [value for value, _ in self.rounds]

    @property
    def beside(self) -> float:
        """The median of the baseline."""
        return statistics.median(beside for _, beside in self.rounds)

    @property
    def missed(self) -> bool:
        """True if an aim is not reached."""
        over = self.aim is not None and self.ratio > self.aim
        value = statistics.median(self.values)
        return over or (self.aim_value is not None and value > self.aim_value)


def dump_figures(figures: Iterable[Figure], commit: str) -> str:
    """Write figures as JSON, with the machine that they were measured on."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "commit": commit,
        "measured": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": machine(),
        "figures": {each.name: _document(each) for each in figures},
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def load_figures(document: Mapping[str, Any]) -> list[Figure]:
    """Return the figures of a document that :func:`dump_figures` wrote."""
    return [
        Figure(
            name=name,
            title=each["title"],
            baseline=each["baseline"],
            unit=each["unit"],
            rounds=[(value, beside) for value, beside in each["rounds"]],
            aim=each["aim"].get("ratio"),
            aim_value=each["aim"].get("value"),
        )
        for name, each in document["figures"].items()
    ]


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the program."""
    return {
        "cores": os.cpu_count(),
        "memoryGiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _document(figure: Figure) -> dict[str, Any]:
    beside = [value for _, value in figure.rounds]
    aims = {"ratio": figure.aim, "value": figure.aim_value}
    return {
        "title": figure.title,
        "baseline": figure.baseline,
        "unit": figure.unit,
        "ratio": _spread(figure.ratios),
        "value": _spread(figure.values),
        "beside": _spread(beside),
        "rounds": [[_rounded(a), _rounded(b)] for a, b in figure.rounds],
        "aim": {name: aim for name, aim in aims.items() if aim is not None},
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": _rounded(statistics.median(values)),
        "min": _rounded(min(values)),
        "max": _rounded(max(values)),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


#: Of the table for people.
HEADER = f"{'figure':<42}{'median':>10}{'baseline':>10}   {'ratio':>6}  {'min':>6} {'max':>6}   aim"


def row(figure: Figure) -> str:
    """Return one line of the table."""
    value = statistics.median(figure.values)
    beside, ratios = shown(figure.beside, figure.unit), figure.ratios
    return (
        f"{figure.title:<42}{shown(value, figure.unit):>10}{beside:>10}   "
        f"{figure.ratio:>6.2f}  {min(ratios):>6.2f} {max(ratios):>6.2f}   {_aim(figure)}"
    ).rstrip()


def shown(value: float, unit: str) -> str:
    """Return a value with its unit, three digits long."""
    if unit == "s" and value < 1:
        value, unit = 1000 * value, "ms"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def _aim(figure: Figure) -> str:
    aims = [f"≤ {figure.aim:g}\N{MULTIPLICATION SIGN}"] if figure.aim is not None else []
    if figure.aim_value is not None:
        aims.append(f"≤ {shown(figure.aim_value, figure.unit)}")
    return f"{', '.join(aims)}{' (missed)' if figure.missed else ''}"


def write_figures(file: Path, text: str) -> None:
    """Write the JSON; ``-`` is the standard output."""
    if str(file) == "-":
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")
