"""The history in an object's status: entries of ended tasks. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from reconciler.engine import FailureClass
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import (
    FAILED_HISTORY,
    HistoryEntry,
    TaskPhase,
    TaskStatus,
    Verdict,
)
from reconciler.planner.plan import ActionKind, RunDeletion, TaskAction
from reconciler.reasons import message
from reconciler.types import JSON, Commit, TaskKey

#: Characters of JSON that the params of an entry may have, and those that tell of others.
LARGEST_PARAMS, _OTHERS = 4096, 80


def extended_history(
    before: Iterable[HistoryEntry],
    tasks: Iterable[tuple[TaskAction, TaskStatus]],
    *,
    ledger: Ledger,
    commit: Commit | None,
    image: Callable[[str | None], str | None],
    judged: tuple[TaskKey, Verdict, bool] | None,
    replaced: Iterable[RunDeletion],
    now: datetime,
) -> tuple[HistoryEntry, ...]:
    """Add tasks that have ended since to an object's history.

    A key is added once when it is complete, again when it was lost and made anew, and once for
    each execution hash under which it failed. A run that was interrupted, or ``replaced`` while it
    ran, is added with what it cost. Of those that made nothing, the last FAILED_HISTORY are kept.
    ``image`` returns the image of a build key or digest. ``judged`` is the key of the desired
    artifact with its verdict, and whether a gate has given that.
    """
    history = [_judged(_marked(entry, ledger), judged) for entry in before]
    complete = {e.key for e in history if e.phase is TaskPhase.SUCCEEDED and e.lost is None}
    failed = {(e.key, e.execution_hash) for e in history if e.phase is TaskPhase.FAILED}
    pairs = list(tasks)
    history.extend(_replaced(history, pairs, replaced, commit, now))
    for decision, record in pairs:
        key = decision.task.key
        if key is None:
            continue
        history.extend(_interrupted(history, decision, record, ledger, commit))
        done = ledger.result(key)
        if decision.phase is TaskPhase.SUCCEEDED and done is not None and key not in complete:
            history.append(
                HistoryEntry(
                    task=decision.task.kind,
                    key=key,
                    phase=TaskPhase.SUCCEEDED,
                    commit=commit,
                    started=record.started,
                    finished=record.finished,
                    params=_params(decision),
                    metrics=done.result.metrics,
                    warnings=done.result.warnings,
                    gpu_seconds=done.result.gpu_seconds,
                    artifact=done.result.url,
                    image=done.result.image or image(decision.task.image_key),
                    image_key=decision.task.image_key,
                    verdict=_verdict(decision, judged),
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


def _replaced(
    history: Iterable[HistoryEntry],
    tasks: Iterable[tuple[TaskAction, TaskStatus]],
    replaced: Iterable[RunDeletion],
    commit: Commit | None,
    now: datetime,
) -> Iterator[HistoryEntry]:
    """Yield entries of started runs that are cancelled now."""
    gpus = {action.task.kind: action.task.resources.gpus for action, _ in tasks}
    known = {(e.key, e.started) for e in history if e.phase is TaskPhase.INTERRUPTED}
    for deletion in replaced:
        run = deletion.run
        if run.started is None or deletion.action is not ActionKind.CANCEL:
            continue
        started = run.started.replace(microsecond=0)
        if (run.key, started) not in known:
            yield HistoryEntry(
                task=run.task,
                key=run.key,
                phase=TaskPhase.INTERRUPTED,
                execution_hash=run.execution_hash,
                commit=commit,
                started=started,
                finished=now.replace(microsecond=0),
                gpu_seconds=_cost(started, now, gpus.get(run.task, 0)),
                reason=deletion.reason.code.value,
                message=message(deletion.reason),
            )


def _interrupted(
    history: Iterable[HistoryEntry],
    action: TaskAction,
    record: TaskStatus,
    ledger: Ledger,
    commit: Commit | None,
) -> Iterator[HistoryEntry]:
    """Yield an entry if a run was just interrupted."""
    task = action.task
    assert task.key is not None
    failure = ledger.failure(task.key, task.execution_hash)
    if failure is None or failure.kind is not FailureClass.INFRASTRUCTURE or failure.remembered:
        return
    if any(e.key == task.key and e.finished == failure.at for e in history):
        return
    yield HistoryEntry(
        task=task.kind,
        key=task.key,
        phase=TaskPhase.INTERRUPTED,
        execution_hash=task.execution_hash,
        commit=commit,
        started=record.started,
        finished=failure.at,
        gpu_seconds=_cost(record.started, failure.at, task.resources.gpus),
        reason=failure.reason.code.value,
        message=message(failure.reason),
    )


def _cost(started: datetime | None, finished: datetime, gpus: int) -> float:
    """Return the GPU seconds of a run without an account."""
    return max(0.0, (finished - started).total_seconds()) * gpus if started is not None else 0.0


def _marked(entry: HistoryEntry, ledger: Ledger) -> HistoryEntry:
    """Mark an entry with the time of its loss, if any."""
    if entry.phase is not TaskPhase.SUCCEEDED or entry.lost is not None:
        return entry
    loss = ledger.losses.get(entry.key)
    return replace(entry, lost=loss.at) if loss is not None else entry


def _judged(entry: HistoryEntry, judged: tuple[TaskKey, Verdict, bool] | None) -> HistoryEntry:
    """Renew the verdict on an artifact that was made for a gate."""
    if judged is None or entry.key != judged[0] or entry.verdict in (None, judged[1]):
        return entry
    return replace(entry, verdict=judged[1])


def _verdict(action: TaskAction, judged: tuple[TaskKey, Verdict, bool] | None) -> Verdict | None:
    """Return a gate's verdict on the artifact of a new entry."""
    if judged is None or action.task.key != judged[0] or not judged[2]:
        return None
    return judged[1]


def _params(decision: TaskAction) -> dict[str, JSON]:
    return _kept(decision.task.params)


def _kept(params: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return params within `LARGEST_PARAMS`, with digests in place of the largest values.

    Each version of an object would add as much to its file. A digest tells equal values from
    others; the value itself is in the manifest at the entry's commit.
    """
    kept = dict(params)
    texts = {name: _json(value) for name, value in params.items()}
    total = sum(len(_json(name)) + len(text) for name, text in texts.items())
    for name in sorted(texts, key=lambda each: len(texts[each]), reverse=True):
        if total <= LARGEST_PARAMS:
            return kept
        shown = f"({len(texts[name])} characters, sha256 {_digest(texts[name])})"
        if len(shown) < len(texts[name]):
            kept[name] = shown
            total += len(_json(shown)) - len(texts[name])
    if total <= LARGEST_PARAMS:
        return kept
    # Very many small ones: the first of them, and what tells the others.
    found: dict[str, JSON] = {}
    room = LARGEST_PARAMS - _OTHERS
    for name, value in kept.items():
        room -= len(_json(name)) + len(_json(value))
        if room < 0:
            break
        found[name] = value
    others = len(params) - len(found)
    return {**found, "…": f"({others} more, sha256 of all {_digest(_json(dict(params)))})"}


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _bounded(history: list[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    failed = [entry for entry in history if entry.phase is not TaskPhase.SUCCEEDED]
    dropped = {id(entry) for entry in failed[:-FAILED_HISTORY]}
    return tuple(entry for entry in history if id(entry) not in dropped)
