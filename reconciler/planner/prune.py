"""Runs that are ended or cleared away: of objects that are gone, of needless builds, of history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from reconciler.engine import Run, RunPhase
from reconciler.planner.plan import ActionKind, PlanInput, RunDeletion
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKey, TaskKind

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Gone:
    """Objects without a manifest: those that go, and those that stay, with the reason."""

    going: frozenset[ObjectRef]
    kept: Mapping[ObjectRef, Reason] = field(default_factory=dict)


def gone_objects(situation: PlanInput) -> Gone:
    """Recorded objects, and objects of runs, that head has no manifest of, not even a wrong one."""
    desired, invalid = situation.desired, situation.invalid
    owners = {
        run.object
        for run in situation.runs.values()
        if run.object is not None and run.object not in desired
    }
    missing = {
        ref for ref in situation.settled.stray | owners if ref not in desired and ref not in invalid
    }
    if not situation.settings.prune:
        return Gone(frozenset(), dict.fromkeys(missing, Reason.of(ReasonCode.PRUNE_DISABLED)))
    if situation.unreadable:
        return Gone(frozenset(), dict.fromkeys(missing, Reason.of(ReasonCode.PRUNE_WITHHELD)))
    kept = {}
    for ref in missing:
        record = situation.records.get(ref)
        if record is not None and record.manifest is not None and record.manifest.protected:
            kept[ref] = Reason.of(ReasonCode.PRUNE_PROTECTED)
    return Gone(frozenset(missing - kept.keys()), kept)


def of_removed(situation: PlanInput, removed: Collection[ObjectRef]) -> list[RunDeletion]:
    """Every run of an object that goes, unless a renamed object wants that very key."""
    if not removed:
        return []
    desired = _desired_keys(situation)
    return [
        RunDeletion(
            run=run, action=ActionKind.DELETE, reason=Reason.of(ReasonCode.MANIFEST_REMOVED)
        )
        for run in situation.runs.values()
        if run.object in removed and not run.deleting and run.key not in desired
    ]


def of_builds(situation: PlanInput, removed: Collection[ObjectRef]) -> list[RunDeletion]:
    """Live builds whose key no object needs any more.

    While any object's source is unknown, or a manifest wrong, nothing is known to be needless.
    """
    builds = [
        run
        for run in situation.runs.values()
        if run.task is TaskKind.BUILD and run.live and not run.deleting
    ]
    if not builds:
        return []
    keys, intents = set(), set()
    for item in situation.desired.values():
        if item.blocked is not None and item.manifest.document.spec.source.git is not None:
            return []
        for task in item.tasks:
            if task.kind is TaskKind.BUILD:
                keys.add(task.key)
                intents.add(task.intent)
    unknown = [ref for ref in situation.invalid if ref not in situation.desired]
    kept = [ref for ref in situation.records if ref not in situation.desired and ref not in removed]
    if unknown or kept:
        return []
    return [
        RunDeletion(
            run=run, action=ActionKind.CANCEL, reason=Reason.of(ReasonCode.BUILD_NOT_NEEDED)
        )
        for run in builds
        if run.key not in keys and run.intent not in intents
    ]


def of_history(situation: PlanInput, ending: Collection[str]) -> list[RunDeletion]:
    """Finished runs beyond the last ``history.jobs`` of their object, once their outcome is pushed.

    One that failed under a key that is still desired stays, so that its log can be looked at.
    """
    most = situation.settings.history_jobs
    ended = [run for run in situation.runs.values() if not run.live and run.name not in ending]
    counts = Counter(run.object or run.intent for run in ended)
    finished: dict[object, list[Run]] = {of: [] for of, count in counts.items() if count > most}
    if finished:
        for run in ended:
            if (runs := finished.get(run.object or run.intent)) is not None:
                runs.append(run)
    older = []
    for runs in finished.values():
        runs.sort(key=lambda run: (run.finished or _LONG_AGO, run.name), reverse=True)
        older += runs[most:]
    desired = _desired_keys(situation) if older else frozenset()
    return [
        RunDeletion(run=run, action=ActionKind.KEEP, reason=Reason.of(ReasonCode.HISTORY_LIMIT))
        for run in older
        if not (run.phase is RunPhase.FAILED and run.key in desired)
        and run.name in situation.recorded
    ]


def _desired_keys(situation: PlanInput) -> frozenset[TaskKey | None]:
    return frozenset(task.key for item in situation.desired.values() for task in item.tasks)
