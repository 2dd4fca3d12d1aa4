"""Progress of the tasks that an object has under way, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from reconciler.engine import Progress
from reconciler.planner import DONE_TASKS, ObjectStatus, Phase, TaskPhase, TaskStatus
from reconciler.review.quantities import seconds

#: The newest progress of a run, by its name.
Latest = Callable[[str], Progress | None]

#: Phases of a variant that has ended.
_ENDED = (*DONE_TASKS, TaskPhase.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectProgress:
    """Progress of an object, as every output shows it.

    ``dropped`` counts what was reported and not usable.
    """

    text: str
    percentage: float | None = None
    dropped: int = 0


def no_reports(_: str) -> None:
    """Know of no progress."""


def object_progress(
    record: ObjectStatus, latest: Latest = no_reports, now: datetime | None = None
) -> ObjectProgress | None:
    """Return an object's progress: ``42%, 3m20s left``; None without any.

    That of a sweep is of its variants: ``5/12 variants, 41%, 8m00s left``. Without ``now`` no time
    is named.
    """
    if record.phase is Phase.TRAINING and record.variants:
        return _sweep_progress(record, latest, now)
    found = progress_of(record, latest)
    if found is None:
        return None
    remaining = found.remaining_at(now) if now is not None else None
    text = _text(found.percentage, remaining)
    return ObjectProgress(text=text, percentage=found.percentage, dropped=found.dropped)


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
    return _text(progress.percentage, progress.remaining_at(now))


def progress_bar(percentage: float | None, width: int = 10) -> str:
    """Return a bar of so many characters; empty without a percentage."""
    if percentage is None:
        return ""
    full = min(width, int(percentage / 100 * width))
    return "█" * full + "░" * (width - full)


def _text(percentage: float | None, remaining: float | None) -> str:
    parts = [] if percentage is None else [f"{percentage:.0f}%"]
    if remaining is not None:
        parts.append(f"{seconds(remaining)} left")
    return ", ".join(parts)


def _sweep_progress(record: ObjectStatus, latest: Latest, now: datetime | None) -> ObjectProgress:
    """Return the progress of a sweep: the mean of its variants'.

    One that has ended counts whole, and a running one that does not report as not begun.
    """
    tasks = {task.key: task for task in record.tasks}
    total, ended = len(record.variants), [v for v in record.variants if v.phase in _ENDED]
    running = [
        task
        for variant in record.variants
        if variant.phase is TaskPhase.RUNNING and (task := tasks.get(variant.key)) is not None
    ]
    reports = [task_progress(task, latest) for task in running]
    known = [report.percentage or 0.0 for report in reports if report is not None]
    percentage = (100.0 * len(ended) + sum(known)) / total
    taken = [_taken(tasks[v.key]) for v in ended if v.key in tasks]
    usual = [each for each in taken if each is not None]
    remaining = None
    if now is not None:
        waiting = total - len(ended) - len(running)
        pairs = list(zip(running, reports, strict=True))
        remaining = _remaining(pairs, waiting, sum(usual) / len(usual) if usual else None, now)
    detail = _text(percentage, remaining)
    return ObjectProgress(
        text=f"{len(ended)}/{total} variants, {detail}",
        percentage=percentage,
        dropped=sum(report.dropped for report in reports if report is not None),
    )


def _taken(task: TaskStatus) -> float | None:
    """Return the seconds that a complete task took."""
    if task.phase not in DONE_TASKS or task.started is None or task.finished is None:
        return None
    return (task.finished - task.started).total_seconds()


def _remaining(
    running: list[tuple[TaskStatus, Progress | None]],
    waiting: int,
    usual: float | None,
    now: datetime,
) -> float | None:
    """Return the seconds until all variants have ended; None if unknown.

    A variant takes as long as it reports, else as long as those did that are complete. As many as
    run now go on running at a time.
    """
    left: list[float] = []
    whole: list[float] = []
    for task, report in running:
        reported = report.remaining_at(now) if report is not None else None
        elapsed = max(0.0, (now - task.started).total_seconds()) if task.started else 0.0
        if reported is None and usual is None:
            return None
        rest = reported if reported is not None else max(0.0, (usual or 0.0) - elapsed)
        left.append(rest)
        whole.append(elapsed + rest)
    if not left:
        return None
    each = usual if usual is not None else sum(whole) / len(whole)
    return max(*left, (sum(left) + waiting * each) / len(left))
