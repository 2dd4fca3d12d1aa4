"""A plan's flat list of actions, with their text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.engine import Run
from reconciler.manifests import Combination
from reconciler.planner import (
    ActionKind,
    Forecast,
    Forecaster,
    ObjectStatus,
    Plan,
    TaskAction,
    TaskPhase,
    kept_params,
)
from reconciler.reasons import HELD_REMOVALS, Reason, ReasonCode, message
from reconciler.review.changes import Change
from reconciler.types import Metrics, ObjectRef, Problem, Resources, TaskKey, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An existing image or artifact: time of completion and metrics."""

    finished: datetime | None = None
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One line of a plan; ``task`` and ``key`` are None if unknown.

    ``for_evaluation``: it builds the evaluation's own source. ``reason`` is how the task stands,
    ``why`` the change that a creation comes from. ``caused``: the plan of base does not have it.
    ``again``: the object has an artifact already. ``retried``: a remembered failure of this key is
    forgotten. ``made`` is what a complete task left. ``last_good``: a refused object stays in its
    last good form. ``run`` is the live run that is ended. ``forecast`` is of the run that is
    created or held, which starts after all of ``after`` that run as well. ``variant`` has the
    params of a sweep's training, ``compared`` is the artifact that an evaluation compares the
    object's next one with. A removal that is held is one action of its object, without a task.
    """

    action: ActionKind
    task: TaskKind | None
    ref: ObjectRef
    key: TaskKey | None
    reason: Reason
    why: Change | None = None
    file: str | None = None
    line: int | None = None
    resources: Resources = field(default_factory=Resources)
    needs: tuple[TaskKey, ...] = ()
    caused: bool = True
    again: bool = False
    retried: bool = False
    made: Made | None = None
    last_good: bool = False
    run: Run | None = None
    forecast: Forecast | None = None
    after: tuple[TaskKey, ...] = ()
    variant: Combination | None = None
    compared: TaskKey | None = None
    for_evaluation: bool = False

    @property
    def label(self) -> str:
        """The name of the task beside others; empty without a task."""
        return self.task.label(for_evaluation=self.for_evaluation) if self.task else ""

    @property
    def gpus(self) -> int:
        """GPUs over all nodes."""
        return self.resources.gpus

    @property
    def held_removal(self) -> bool:
        """True for an object without a manifest whose removal is held."""
        return self.action is ActionKind.HOLD and self.task is None

    @property
    def message(self) -> str:
        """The reason as a sentence; for a creation, its cause."""
        if self.action is not ActionKind.CREATE:
            return message(self.reason)
        why = str(self.why or "") or "not made yet"
        return f"{why}; {message(self.reason)}" if self.needs else why


def actions_of(
    plan: Plan,
    whys: Mapping[ObjectRef, Change],
    errors: Sequence[Problem],
    forecaster: Forecaster | None = None,
) -> Iterator[Action]:
    """Yield all actions of a plan.

    ``whys`` has the change of each object.
    """
    for decision in plan.decisions:
        yield _decided(plan, decision, whys, forecaster)
    yield from _ended(plan)
    yield from _gone(plan)
    yield from _refused(plan, errors)


def _decided(
    plan: Plan,
    decision: TaskAction,
    whys: Mapping[ObjectRef, Change],
    forecaster: Forecaster | None,
) -> Action:
    ref, task = decision.ref, decision.task
    item = plan.inputs.desired[ref]
    manifest = item.manifest
    record = plan.inputs.records.get(ref)
    # What it is made from cannot be asked now, and may be another when it can.
    unknown = decision.phase is TaskPhase.WAITING and decision.reason == task.halted
    create = decision.action is ActionKind.CREATE
    variant = next((v.params for v in item.variants if v.task.key == task.key), None)
    held = decision.action is ActionKind.HOLD
    return Action(
        action=decision.action,
        task=task.kind,
        ref=ref,
        key=None if unknown else task.key,
        reason=decision.reason,
        why=whys.get(ref) if create else None,
        file=manifest.file,
        line=manifest.locate(()).line,
        resources=task.resources,
        needs=decision.needs,
        again=record is not None and _is_again(record, variant),
        retried=create and _failed(record, task.key),
        made=_made(record, task.key) if decision.phase is TaskPhase.SUCCEEDED else None,
        forecast=forecaster.of(ref, task) if forecaster is not None and (create or held) else None,
        after=task.needs,
        variant=variant,
        compared=task.artifact if task.artifact != item.key else None,
        for_evaluation=task.for_evaluation,
    )


def _is_again(record: ObjectStatus, variant: Combination | None) -> bool:
    """Return whether an object has an artifact already, or a variant has."""
    if variant is None:
        return record.artifact is not None
    return any(v.artifact is not None and v.params == kept_params(variant) for v in record.variants)


def _made(record: ObjectStatus | None, key: TaskKey | None) -> Made:
    """Return what is recorded of a complete task, the newest entry first."""
    for entry in reversed(record.history if record else ()):
        if entry.key == key and entry.phase is TaskPhase.SUCCEEDED:
            return Made(finished=entry.finished, metrics=entry.metrics)
    return Made()


def _failed(record: ObjectStatus | None, key: TaskKey | None) -> bool:
    """Return whether a failure of the key is recorded."""
    tasks = record.tasks if record else ()
    return any(task.phase is TaskPhase.FAILED and task.key == key for task in tasks)


def _ended(plan: Plan) -> Iterator[Action]:
    """Yield the live runs that a sync would cancel.

    Runs of removed objects are deletions instead.
    """
    builders = _builders(plan)
    for ending in plan.endings:
        ref = ending.run.object or builders.get(ending.run.name)
        item = plan.inputs.desired.get(ref) if ref is not None else None
        record = plan.inputs.records.get(ref) if ref is not None else None
        variants = record.variants if record is not None else ()
        recorded = record.tasks if record is not None else ()
        if item is not None and ending.action is ActionKind.CANCEL:
            yield Action(
                action=ActionKind.CANCEL,
                task=ending.run.task,
                ref=item.ref,
                key=ending.run.key,
                reason=ending.reason,
                file=item.manifest.file,
                line=item.manifest.locate(()).line,
                run=ending.run,
                variant=next((v.params for v in variants if v.key == ending.run.key), None),
                for_evaluation=any(
                    task.for_evaluation for task in recorded if task.job == ending.run.name
                ),
            )


def _builders(plan: Plan) -> dict[str, ObjectRef]:
    """Map each shared build's run to the first object with it."""
    found: dict[str, ObjectRef] = {}
    for ref, record in plan.inputs.records.items():
        for task in record.tasks:
            if task.task is TaskKind.BUILD and task.job is not None:
                found.setdefault(task.job, ref)
    return found


def _gone(plan: Plan) -> Iterator[Action]:
    live: dict[tuple[ObjectRef | None, TaskKind], list[Run]] = {}
    for ending in plan.endings:
        if ending.action is ActionKind.DELETE and ending.run.live:
            live.setdefault((ending.run.object, ending.run.task), []).append(ending.run)
    for ref, record in plan.inputs.records.items():
        if ref in plan.removed:
            action, reason = ActionKind.DELETE, Reason.of(ReasonCode.MANIFEST_REMOVED)
        elif ref in plan.kept:
            reason = plan.kept[ref]
            held = reason.code in HELD_REMOVALS
            action = ActionKind.HOLD if held else ActionKind.KEEP
        else:
            continue
        file = record.manifest.path if record.manifest else None
        whole = Action(action=action, task=None, ref=ref, key=None, reason=reason, file=file)
        held = whole.held_removal
        tasks = [] if held else [t for t in record.tasks if t.phase is not TaskPhase.NEEDLESS]
        for task in tasks:
            runs = live.get((ref, task.task), [])
            # A sweep has many trainings, any other object one, perhaps of an earlier key.
            own = [r for r in runs if r.key == task.key] if record.variants else runs
            run = next(iter(own), None)
            yield replace(
                whole,
                task=task.task,
                key=task.key,
                run=run,
                for_evaluation=task.for_evaluation,
            )
        if not tasks:
            yield whole


def _refused(plan: Plan, errors: Sequence[Problem]) -> Iterator[Action]:
    first = {problem.object: problem for problem in reversed(errors) if problem.object}
    for ref, problem in plan.inputs.invalid.items():
        place = first[ref].location if ref in first else None
        yield Action(
            action=ActionKind.REFUSE,
            task=None,
            ref=ref,
            key=None,
            reason=Reason.of(ReasonCode.INVALID_MANIFEST, problem=str(problem)),
            file=place.file if place else None,
            line=place.line if place else None,
            last_good=ref in plan.inputs.desired,
        )
