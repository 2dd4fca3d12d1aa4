"""The conditions of an object's status. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from reconciler.codec import whole_seconds
from reconciler.engine import Result
from reconciler.planner.object_status import (
    ARTIFACT_LOST,
    DATA_CHANGED,
    VARIANTS_FAILED,
    Condition,
    ObjectStatus,
)
from reconciler.planner.phases import Phase
from reconciler.planner.tasks import ResolvedObject, Source
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import SourceField


def ready_condition(
    before: ObjectStatus, phase: Phase, reason: Reason, *, task: str | None, now: datetime
) -> Condition:
    """The condition Ready.

    ``task`` names the task that the reason is of, if it is of one.
    """
    status = "True" if phase is Phase.READY else "False"
    return _condition(before, "Ready", status, reason, task=task, now=now)


def warning_conditions(
    before: ObjectStatus,
    item: ResolvedObject,
    results: Iterable[Result],
    *,
    lost: Reason | None,
    failed: Reason | None,
    now: datetime,
) -> tuple[Condition, ...]:
    """The conditions beside Ready, each only while it holds.

    ``results`` are the results that the object has, for their warnings; ``failed`` is the reason if
    variants of a sweep have failed.
    """
    found = [("UpdateAvailable", _update(item))]
    found += [(kind, Reason.read(kind, text)) for kind, text in _warnings(results).items()]
    unavailable = item.unavailable if item.data is None else None
    changed = unavailable is not None and unavailable.code is ReasonCode.DATA_CHANGED
    found += [(DATA_CHANGED if changed else "ReferenceUnavailable", unavailable)]
    found += [(ARTIFACT_LOST, lost), (VARIANTS_FAILED, failed)]
    return tuple(
        _condition(before, kind, "True", reason, now=now)
        for kind, reason in found
        if reason is not None
    )


def _update(item: ResolvedObject) -> Reason | None:
    data = item.data
    if data is not None and data.newest is not None:
        return Reason.of(ReasonCode.NEWER_DATA, pinned=str(data.listing), newest=str(data.newest))
    own, evaluation = (_newer(item.source_of(field)) for field in SourceField)
    if own is not None and evaluation is not None:
        return Reason.of(ReasonCode.NEWER_COMMITS, source=own, evaluation=evaluation)
    return own or evaluation


def _newer(source: Source | None) -> Reason | None:
    if source is None or source.newest is None:
        return None
    return Reason.of(
        ReasonCode.NEWER_COMMIT,
        source="evaluation's source" if source.field is SourceField.EVALUATION else "source",
        pinned=source.resolved.commit[:12],
        newest=source.newest.commit[:12],
    )


def _warnings(results: Iterable[Result]) -> dict[str, str]:
    """Return the messages of results' warnings, by reason."""
    messages: dict[str, dict[str, None]] = {}
    for warning in (w for result in results for w in result.warnings):
        messages.setdefault(warning.reason, {}).setdefault(warning.message)
    return {reason: "; ".join(texts) for reason, texts in messages.items()}


def _condition(
    before: ObjectStatus,
    kind: str,
    status: str,
    reason: Reason,
    *,
    task: str | None = None,
    now: datetime,
) -> Condition:
    """A condition whose time moves only when its status does."""
    since = whole_seconds(now)
    for known in before.conditions:
        if known.type == kind and known.status == status:
            since = known.since
    text = "" if reason.code is ReasonCode.COMPLETE else message(reason, task=task)
    return Condition(type=kind, status=status, reason=reason.code.value, message=text, since=since)
