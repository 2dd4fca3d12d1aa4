"""Curves of several runs over each other, drawn by the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from reconciler.engine import Curves, LogOf, Point
from reconciler.planner import ObjectStatus, TaskStatus
from reconciler.review import format_number, is_best, seconds, variant_text
from reconciler.types import ObjectRef
from reconciler.web.comparison import ComparedSelection
from reconciler.web.curves import MARGIN, path_of, scaled, steps_of
from reconciler.web.hrefs import object_href

#: The size of a drawing, in which a narrow screen still tells lines apart.
WIDTH, HEIGHT = 640, 260
#: Lines of a drawing, each with a colour and a dash of its own, and metrics to choose from.
MOST_LINES, MOST_METRICS = 8, 24
#: Runs whose curves are read for one page.
MOST_READ = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCurves:
    """The curves of a run, its label and its page's URL."""

    label: str
    href: str
    curves: Curves


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnCurve:
    """One run's curve.

    ``number`` is that of its colour and dash, ``last`` its last value.
    """

    number: int
    label: str
    href: str
    path: str
    x: float
    y: float
    single: bool
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """The curves of one metric, on common axes.

    ``metrics`` are those to choose from. ``lacking`` runs have reported others alone, and ``more``
    are beyond the bound.
    """

    metric: str = ""
    metrics: tuple[str, ...] = ()
    lines: tuple[DrawnCurve, ...] = ()
    low: str = ""
    high: str = ""
    reach: str = ""
    lacking: int = 0
    more: int = 0


NO_OVERLAY = Overlay()


def overlay_of(runs: Sequence[NamedCurves], metric: str = "") -> Overlay:
    """Draw the curves of a metric.

    Of one that no run has, those of the first metric are drawn.
    """
    names = dict.fromkeys(name for run in runs for name in run.curves.metrics)
    metrics = tuple(names)[:MOST_METRICS]
    chosen = metric if metric in names else next(iter(metrics), None)
    if chosen is None:
        return NO_OVERLAY
    having = [(run, run.curves.metrics[chosen]) for run in runs if chosen in run.curves.metrics]
    found = having[:MOST_LINES]
    by_step = all(steps_of(points) for _, points in found)
    places = [_places(points, by_step=by_step) for _, points in found]
    values = [float(point.value) for _, points in found for point in points]
    first, last = min(each[0] for each in places), max(each[-1] for each in places)
    low, high = min(values), max(values)
    lines = []
    for number, ((run, points), at) in enumerate(zip(found, places, strict=True)):
        xs = [scaled(place, first, last, MARGIN, WIDTH - MARGIN) for place in at]
        ys = [scaled(float(p.value), low, high, HEIGHT - MARGIN, MARGIN) for p in points]
        lines.append(
            DrawnCurve(
                number=number,
                label=run.label,
                href=run.href,
                path=path_of(xs, ys),
                x=round(xs[-1], 1),
                y=round(ys[-1], 1),
                single=len(points) == 1,
                last=format_number(points[-1].value),
            )
        )
    shown = format_number if by_step else seconds
    return Overlay(
        metric=chosen,
        metrics=metrics,
        lines=tuple(lines),
        low=format_number(low),
        high=format_number(high),
        reach=f"{'step ' if by_step else ''}{shown(first)} to {shown(last)}",
        lacking=len(runs) - len(having),
        more=len(having) - len(found),
    )


def _places(points: Sequence[Point], *, by_step: bool) -> list[float]:
    return steps_of(points) if by_step else [point.seconds for point in points]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRun:
    """A run that may have curves: its label, page and log."""

    label: str
    href: str
    log: LogOf


def runs_of_variants(record: ObjectStatus) -> list[DrawnRun]:
    """Return the trainings of a sweep that have printed, the best first."""
    tasks = {task.key: task for task in record.tasks if task.has_printed}
    ordered = sorted(record.variants, key=lambda variant: not is_best(record, variant))
    return [
        DrawnRun(
            label=variant_text(variant.params),
            href=f"?{urlencode({'task': task.task.value, 'key': variant.key})}#log",
            log=log_of(record, task),
        )
        for variant in ordered
        if (task := tasks.get(variant.key)) is not None
    ]


def runs_of_artifacts(
    compared: ComparedSelection, records: Mapping[ObjectRef, ObjectStatus]
) -> list[DrawnRun]:
    """Return the runs of compared artifacts, in the order of their rows.

    The log of an artifact that is neither current nor a variant is named by no status.
    """
    found = []
    for row in compared.found.artifacts:
        record = records[compared.ref(row)]
        task = next((t for t in record.tasks if t.key == row.key and t.has_printed), None)
        if task is not None:
            variant = next((v for v in record.variants if v.key == row.key), None)
            told = variant_text(variant.params) if variant is not None else row.key[:8]
            href = (
                f"{object_href(record.ref)}?{urlencode({'task': task.task.value, 'key': row.key})}"
            )
            found.append(
                DrawnRun(label=f"{row.name} {told}", href=f"{href}#log", log=log_of(record, task))
            )
    return found


def log_of(record: ObjectStatus, task: TaskStatus) -> LogOf:
    """Return the newest log of a task."""
    return LogOf(object=record.ref, task=task.task, run=task.job, url=task.log)
