"""Numbers, durations and values as text, for the page and the terminal."""

from __future__ import annotations

import json
from datetime import datetime

from reconciler.planner import ObjectStatus, TaskPhase, TaskStatus
from reconciler.review import printable
from reconciler.types import JSON

#: Characters of a param in a cell; a param may be up to 64 KiB.
LONGEST_VALUE = 60


def task_seconds(task: TaskStatus, now: datetime) -> float:
    """Return the seconds that a task has run, or ran."""
    if task.started is None:
        return 0.0
    end = task.finished or (now if task.phase is TaskPhase.RUNNING else task.started)
    return max(0.0, (end - task.started).total_seconds())


def shown_metric(record: ObjectStatus) -> str:
    """Format one metric of the artifact: accuracy, or else the first one."""
    metrics = record.artifact.metrics if record.artifact else {}
    name = "accuracy" if "accuracy" in metrics else next(iter(metrics), None)
    return f"{name} {metrics[name]:.4g}" if name is not None else ""


def format_value(given: JSON) -> str:
    """Format a param on one line, as in YAML, cut short."""
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return cut(text, LONGEST_VALUE)


def cut(text: str, longest: int) -> str:
    """Format text as one printable line of at most ``longest`` characters."""
    words = printable(text[: 4 * longest])
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
