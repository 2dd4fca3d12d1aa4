"""The history in an object's status: entries of ended tasks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from reconciler.manifests import CommandSection
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import FAILED_HISTORY, HistoryEntry, TaskPhase, TaskStatus
from reconciler.planner.plan import TaskAction
from reconciler.reasons import message
from reconciler.types import JSON, Commit


def extended_history(
    before: Iterable[HistoryEntry],
    tasks: Iterable[tuple[TaskAction, TaskStatus]],
    *,
    ledger: Ledger,
    commit: Commit | None,
    image: Callable[[str | None], str | None],
) -> tuple[HistoryEntry, ...]:
    """Add tasks that have ended since to an object's history.

    A key is added once when it is complete, again when it was lost and made anew, and once for
    each execution hash under which it failed; of failed ones, the last FAILED_HISTORY are kept.
    ``image`` returns the image of a build key or digest.
    """
    history = [_marked(entry, ledger) for entry in before]
    complete = {e.key for e in history if e.phase is TaskPhase.SUCCEEDED and e.lost is None}
    failed = {(e.key, e.execution_hash) for e in history if e.phase is TaskPhase.FAILED}
    for decision, record in tasks:
        key = decision.task.key
        if key is None:
            continue
        done = ledger.result(key)
        if decision.phase is TaskPhase.SUCCEEDED and done is not None and key not in complete:
            history.append(
                HistoryEntry(
                    task=decision.task.kind,
                    key=key,
                    phase=TaskPhase.SUCCEEDED,
                    commit=commit,
                    finished=record.finished,
                    params=_params(decision),
                    metrics=done.result.metrics,
                    gpu_seconds=done.result.gpu_seconds,
                    artifact=done.result.url,
                    image=done.result.image or image(decision.task.image_key),
                    image_key=decision.task.image_key,
                )
            )
        elif (
            decision.phase is TaskPhase.FAILED and (key, decision.task.execution_hash) not in failed
        ):
            history.append(
                HistoryEntry(
                    task=decision.task.kind,
                    key=key,
                    phase=TaskPhase.FAILED,
                    execution_hash=decision.task.execution_hash,
                    commit=commit,
                    finished=record.finished,
                    params=_params(decision),
                    reason=decision.reason.code.value,
                    message=message(decision.reason),
                )
            )
    return _bounded(history)


def _marked(entry: HistoryEntry, ledger: Ledger) -> HistoryEntry:
    """Mark an entry with the time of its loss, if any."""
    if entry.phase is not TaskPhase.SUCCEEDED or entry.lost is not None:
        return entry
    loss = ledger.losses.get(entry.key)
    return replace(entry, lost=loss.at) if loss is not None else entry


def _params(decision: TaskAction) -> dict[str, JSON]:
    section = decision.task.section
    return dict(section.params) if isinstance(section, CommandSection) else {}


def _bounded(history: list[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    failed = [entry for entry in history if entry.phase is TaskPhase.FAILED]
    dropped = {id(entry) for entry in failed[:-FAILED_HISTORY]}
    return tuple(entry for entry in history if id(entry) not in dropped)
