"""Numbers, params, metrics and times as people read them."""

from __future__ import annotations

import json
import math
from datetime import datetime

from reconciler.planner import ObjectStatus, TaskPhase, TaskStatus
from reconciler.review.escape import printable
from reconciler.types import JSON, Metrics

#: A number as large as this, or smaller than that, is written with an exponent.
_LARGE, _SMALL = 1e16, 1e-4
_MOST_PLACES = 12
#: Characters of a param in a cell; a param may be up to 64 KiB.
LONGEST_VALUE = 60


def task_seconds(task: TaskStatus, now: datetime) -> float:
    """Return the seconds that a task has run, or ran."""
    if task.started is None:
        return 0.0
    end = task.finished or (now if task.phase is TaskPhase.RUNNING else task.started)
    return max(0.0, (end - task.started).total_seconds())


def run_seconds(record: ObjectStatus, task: TaskStatus, now: datetime) -> float:
    """Return the seconds of a task's run, as in the history.

    Those of its pods, from the node that the first one got; else from the command's start.
    """
    if task.finished is not None:
        for entry in reversed(record.history):
            if entry.key == task.key and entry.finished == task.finished and entry.seconds:
                return entry.seconds
    return task_seconds(task, now)


def metric_texts(metrics: Metrics, *, most: int | None = None) -> list[str]:
    """Format the first metrics: ``accuracy 0.99996``."""
    return [f"{name} {format_number(value)}" for name, value in list(metrics.items())[:most]]


def format_number(value: float, *, digits: int = 6) -> str:
    """Format a number as people write it: ``44650``, ``0.99996``, ``1.5e-7``.

    Six significant digits, but more where a fraction would look like a whole number. The whole
    part is never shortened.
    """
    if abs(value) < _LARGE and value == int(value):
        return str(int(value))
    if not _SMALL <= abs(value) < _LARGE:
        mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    whole = math.floor(math.log10(abs(value))) + 1
    text = ""
    for places in range(max(0, digits - whole), _MOST_PLACES):
        text = f"{value:.{places}f}"
        if float(text) != round(value):
            break
    return text.rstrip("0").rstrip(".")


def format_value(given: JSON) -> str:
    """Format a param on one line, as in YAML, cut short."""
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return cut(text, LONGEST_VALUE)


def cut(text: str, longest: int) -> str:
    """Format text as one printable line of at most ``longest`` characters."""
    words = printable(text[: 4 * longest])
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
