"""Progress of the task that an object has under way, in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from reconciler.engine import Progress
from reconciler.planner import ObjectStatus, TaskPhase, TaskStatus
from reconciler.review.durations import seconds

#: The newest progress of a run, by its name.
Latest = Callable[[str], Progress | None]


def progress_of(record: ObjectStatus, latest: Latest) -> Progress | None:
    """Return the progress of an object's running task; None without a report.

    None of a sweep, whose trainings have one each.
    """
    for task in reversed(record.tasks) if not record.variants else ():
        found = task_progress(task, latest)
        if found is not None:
            return found
    return None


def task_progress(task: TaskStatus, latest: Latest) -> Progress | None:
    """Return the progress of a running task; None without a report."""
    if task.phase is not TaskPhase.RUNNING or task.job is None:
        return None
    found = latest(task.job)
    # The values of an attempt that has ended say nothing of the next one.
    return found if found is not None and found.attempt >= task.attempts else None


def progress_text(progress: Progress, now: datetime) -> str:
    """Return percentage and remaining time: ``42%, 3m20s left``; empty without either."""
    parts = [] if progress.percentage is None else [f"{progress.percentage:.0f}%"]
    remaining = progress.remaining_at(now)
    if remaining is not None:
        parts.append(f"{seconds(remaining)} left")
    return ", ".join(parts)


def progress_bar(progress: Progress, width: int = 10) -> str:
    """Return a bar of so many characters; empty without a percentage."""
    if progress.ratio is None:
        return ""
    full = min(width, int(progress.ratio * width))
    return "█" * full + "░" * (width - full)
