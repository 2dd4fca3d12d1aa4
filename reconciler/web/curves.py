"""Curves of metrics as lines of an SVG, drawn by the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reconciler.engine import Curves, Point
from reconciler.review import format_number, seconds

#: The size of a drawing, and its margin, in which a line's own width has room.
WIDTH, HEIGHT, MARGIN = 300, 90, 4
#: Metrics that are drawn; a command may report a hundred.
MOST_DRAWN = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The curve of a metric as a path, with numbers as text.

    ``x`` is the place of the last point. ``single``: there is one point alone, and no line.
    """

    name: str
    path: str
    x: float
    y: float
    single: bool
    low: str
    high: str
    last: str
    reach: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Charts:
    """The curves of an attempt; ``more`` metrics are not drawn."""

    drawn: tuple[Chart, ...] = ()
    more: int = 0


def charts_of(curves: Curves | None) -> Charts:
    """Draw the curves of an attempt."""
    metrics: Mapping[str, Sequence[Point]] = curves.metrics if curves is not None else {}
    drawn = tuple(_chart(name, points) for name, points in list(metrics.items())[:MOST_DRAWN])
    return Charts(drawn=drawn, more=max(0, len(metrics) - MOST_DRAWN))


def _chart(name: str, points: Sequence[Point]) -> Chart:
    by_step = steps_of(points)
    places = by_step or [point.seconds for point in points]
    values = [float(point.value) for point in points]
    low, high = min(values), max(values)
    xs = [scaled(place, places[0], places[-1], MARGIN, WIDTH - MARGIN) for place in places]
    ys = [scaled(value, low, high, HEIGHT - MARGIN, MARGIN) for value in values]
    if by_step:
        reach = f"step {format_number(by_step[0])} to {format_number(by_step[-1])}"
    else:
        reach = f"{seconds(places[0])} to {seconds(places[-1])}"
    return Chart(
        name=name,
        path=path_of(xs, ys),
        x=round(xs[-1], 1),
        y=round(ys[-1], 1),
        single=len(points) == 1,
        low=format_number(low),
        high=format_number(high),
        last=format_number(points[-1].value),
        reach=reach,
    )


def path_of(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return the path of an SVG through points."""
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))


def steps_of(points: Sequence[Point]) -> list[float]:
    """Return the steps of points; none unless they rise."""
    steps = [float(point.step) for point in points if point.step is not None]
    if len(steps) < len(points) or any(a >= b for a, b in pairwise(steps)):
        return []
    return steps


def scaled(value: float, low: float, high: float, start: float, end: float) -> float:
    """Return the place of a value between ``start`` and ``end``."""
    # Halves, as the difference of two large numbers may be no number.
    span = high / 2 - low / 2
    share = (value / 2 - low / 2) / span if span > 0 else 0.5
    return start + share * (end - start)
