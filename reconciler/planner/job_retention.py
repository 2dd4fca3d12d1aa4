"""Deletion of finished Jobs, and of ended queued ones. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime

from reconciler.engine import Run, RunPhase
from reconciler.planner.plan import ActionKind, PlanInput, RunDeletion
from reconciler.planner.prune import desired_keys
from reconciler.planner.retry_policy import CLOCK_SKEW
from reconciler.reasons import Reason, ReasonCode

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_LIMIT = Reason.of(ReasonCode.HISTORY_LIMIT)
_COLLECTED = Reason.of(ReasonCode.ARTIFACT_COLLECTED)


def expired_jobs(inputs: PlanInput, ending: Collection[str]) -> list[RunDeletion]:
    """Delete finished runs beyond the last ``history.jobs`` of their object.

    Only runs whose result is pushed to the status branch are deleted.

    One that failed under a key that is still desired stays, so that its log can be looked at. One
    that a user has ended in a queue is deleted in any case: the queue would start it. So is one
    whose artifact or image was collected: without a status branch it would be taken for complete.
    """
    most = inputs.settings.history_jobs
    ended = [run for run in inputs.runs.values() if not run.live and run.name not in ending]
    found = {run.name: (run, run.reason or _LIMIT) for run in ended if run.suspended is not None}
    gone = inputs.ledger.collected
    for run in ended if gone else ():
        if run.phase is RunPhase.SUCCEEDED and run.key in gone:
            found.setdefault(run.name, (run, _COLLECTED))
    counts = Counter(run.object or run.request_hash for run in ended)
    finished: dict[object, list[Run]] = {of: [] for of, count in counts.items() if count > most}
    if finished:
        for run in ended:
            if (runs := finished.get(run.object or run.request_hash)) is not None:
                runs.append(run)
    older = []
    for runs in finished.values():
        runs.sort(key=lambda run: (_ended(run, inputs.now), run.name), reverse=True)
        older += runs[most:]
    desired = desired_keys(inputs) if older else frozenset()
    for run in older:
        if not (run.phase is RunPhase.FAILED and run.key in desired):
            found.setdefault(run.name, (run, _LIMIT))
    return [
        RunDeletion(run=run, action=ActionKind.KEEP, reason=reason)
        for run, reason in found.values()
        if run.name in inputs.recorded
    ]


def _ended(run: Run, now: datetime) -> datetime:
    """Return a run's end, or long ago for one in the future."""
    if run.finished is None or run.finished > now + CLOCK_SKEW:
        return _LONG_AGO
    return run.finished
