"""Curves of what attempts report, thinned.

The curves of an attempt are kept as JSON Lines (``progress-<attempt>.jsonl``, version 1): a header
``{"version": 1}``, then a line a point in time::

    {"seconds": 12.5, "progressPercentage": 40, "step": 100, "metrics": {"loss": 0.31}}

``seconds`` counts from the start of the attempt. A metric has at most :data:`MOST_POINTS` points:
with more, every second one is left out, and of those that follow as many.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.engine.progress import LONGEST_REPORT, MOST_SECONDS, Report, read_report
from reconciler.engine.results import MOST_METRICS, metric_of
from reconciler.types import JSON

#: Points of a metric that are kept of an attempt.
MOST_POINTS = 500
#: Bytes of the curves of an attempt: beyond what the bounds of a report and of points leave.
LONGEST_CURVES = 32 << 20
#: The name of the percentage among the curves: no metric, as a metric's name is printable.
PERCENTAGE = "\0percentage"

_VERSION = 1
_HEADER = json.dumps({"version": _VERSION}) + "\n"


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a curve, ``seconds`` after the start of its attempt."""

    seconds: float
    value: int | float
    step: int | float | None = None


@dataclass(slots=True)
class _Series:
    """The points of one metric; ``gap`` is the least time between two."""

    points: list[Point] = field(default_factory=list)
    stride: int = 1
    skipped: int = 0
    gap: float = 0.0

    def add(self, point: Point) -> tuple[bool, bool]:
        """Add a point; return whether it stays, and others were thinned."""
        if self.points and point.seconds - self.points[-1].seconds < self.gap:
            return False, False
        if self.skipped + 1 < self.stride and self.points:
            self.skipped += 1
            return False, False
        self.skipped = 0
        self.points.append(point)
        if len(self.points) <= MOST_POINTS:
            return True, False
        del self.points[1::2]
        self.stride *= 2
        self.gap *= 2
        return True, True

    def resume(self) -> None:
        """Go on as thinned as the points are."""
        if len(self.points) > MOST_POINTS // 2:
            taken = self.points[-1].seconds - self.points[0].seconds
            self.gap = taken / len(self.points)


class Curves:
    """The thinned points of an attempt, by metric."""

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}

    def add(self, report: Report, seconds: float) -> tuple[str, bool]:
        """Add a report; return its line, and whether others were thinned.

        The line is empty where nothing of the report is kept. Reports come in the order of time.
        """
        values: dict[str, int | float] = dict(report.metrics)
        if report.percentage is not None:
            values[PERCENTAGE] = report.percentage
        kept: dict[str, int | float] = {}
        thinned = False
        at = round(seconds, 3)
        for name, value in values.items():
            if name not in self._series:
                if len(self._series) > MOST_METRICS:
                    continue
                self._series[name] = _Series()
            stays, other = self._series[name].add(Point(at, value, report.step))
            thinned = thinned or other
            if stays:
                kept[name] = value
        return (_line(at, report.step, kept) if kept else ""), thinned

    def shift(self, seconds: float) -> None:
        """Have all points come later by so much."""
        for series in self._series.values():
            series.points[:] = [
                replace(point, seconds=round(point.seconds + seconds, 3)) for point in series.points
            ]

    def resume(self) -> None:
        """Prepare curves that were read for more points.

        They become as dense as those that are there.
        """
        for series in self._series.values():
            series.resume()

    @property
    def size(self) -> int:
        """The number of points."""
        return sum(len(series.points) for series in self._series.values())

    @property
    def seconds(self) -> float:
        """The time of the last point."""
        return max((s.points[-1].seconds for s in self._series.values() if s.points), default=0.0)

    @property
    def percentage(self) -> tuple[Point, ...]:
        """The points of the percentage."""
        return self._points(PERCENTAGE)

    @property
    def metrics(self) -> Mapping[str, tuple[Point, ...]]:
        """The points of each metric, in the order in which they came."""
        return {name: self._points(name) for name in self._series if name != PERCENTAGE}

    def _points(self, name: str) -> tuple[Point, ...]:
        found = self._series.get(name)
        return tuple(found.points) if found is not None else ()

    def lines(self) -> Iterator[str]:
        """Yield the lines of the file, with their ends."""
        yield _HEADER
        at: dict[tuple[float, float], tuple[int | float | None, dict[str, int | float]]] = {}
        for name, series in self._series.items():
            for point in series.points:
                place = (point.seconds, -1.0 if point.step is None else float(point.step))
                at.setdefault(place, (point.step, {}))[1][name] = point.value
        for seconds, step in sorted(at):
            yield _line(seconds, *at[seconds, step])


def _line(seconds: float, step: float | None, values: Mapping[str, int | float]) -> str:
    document: dict[str, JSON] = {"seconds": seconds}
    if PERCENTAGE in values:
        document["progressPercentage"] = values[PERCENTAGE]
    if step is not None:
        document["step"] = step
    metrics: dict[str, JSON] = {name: value for name, value in values.items() if name != PERCENTAGE}
    if metrics:
        document["metrics"] = metrics
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def read_curves(lines: Iterable[bytes]) -> Curves | None:
    """Read the lines of a file; None of another version.

    A command could have written them, so lines that cannot be used are passed over: the last one
    may be half written, too.
    """
    rest = iter(lines)
    if _document(next(rest, b"")).get("version") != _VERSION:
        return None
    curves = Curves()
    _read_points(rest, curves, 0.0)
    return curves


def continued_curves(kept: Iterable[bytes], later: Curves) -> Curves:
    """Return curves that were kept, and what has come after them."""
    found = read_curves(kept)
    if found is None:
        return later
    found.resume()
    lines = (line.encode() for line in later.lines())
    next(lines)
    _read_points(lines, found, found.seconds)
    return found


def _read_points(lines: Iterable[bytes], curves: Curves, last: float) -> None:
    """Add the points of lines that are none before the second ``last``."""
    for line in lines:
        report, _ = read_report(line)
        seconds = _document(line).get("seconds")
        number = metric_of(seconds) if len(line) <= LONGEST_REPORT else None
        if report and number is not None and last <= number <= MOST_SECONDS:
            last = number
            curves.add(report, number)


def _document(line: bytes) -> dict[str, JSON]:
    try:
        value: JSON = json.loads(line) if len(line) <= LONGEST_REPORT else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
