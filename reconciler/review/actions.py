"""A plan as a flat list of actions, each with what a person, or a program, is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.engine import Run
from reconciler.planner.plan import ActionKind, Decision, Plan
from reconciler.planner.status import Record, TaskPhase
from reconciler.review.changes import Why
from reconciler.types import JSON, ObjectRef, Problem, TaskKey, TaskKind

NEEDLESS = "not needed: what it is for is complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One line of a plan. ``task`` and ``key`` are None where they are not known.

    The rest is for people alone. ``caused``: the plan of base does not have it. ``again``: the
    object has an artifact already. ``note`` says how it stands. ``run`` is the live run that is
    ended. ``took`` is how many seconds this task took the last time.
    """

    action: ActionKind
    task: TaskKind | None
    ref: ObjectRef
    key: TaskKey | None
    reason: str
    file: str | None = None
    line: int | None = None
    gpus: int = 0
    needs: tuple[TaskKey, ...] = ()
    caused: bool = True
    again: bool = False
    note: str = ""
    run: Run | None = None
    took: float | None = None

    def to_json(self) -> dict[str, JSON]:
        """As ``plan --format json`` prints it."""
        return {
            "action": self.action.value,
            "task": self.task.value if self.task else None,
            "kind": self.ref.kind.value,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
            "key": self.key,
            "reason": self.reason,
            "file": self.file,
            "line": self.line,
            "gpus": self.gpus,
            "needs": list(self.needs),
        }


def actions_of(
    plan: Plan, whys: Mapping[ObjectRef, Why], errors: Sequence[Problem]
) -> Iterator[Action]:
    """Every action of a plan; ``whys`` says what the change of each object comes from."""
    for decision in plan.decisions:
        yield _decided(plan, decision, whys)
    yield from _ended(plan)
    yield from _gone(plan)
    yield from _refused(plan, errors)


def _decided(plan: Plan, decision: Decision, whys: Mapping[ObjectRef, Why]) -> Action:
    ref, task = decision.ref, decision.task
    item = plan.situation.desired[ref]
    manifest = item.manifest
    record = plan.situation.records.get(ref)
    reason = decision.reason
    # What it is made from cannot be asked now, and may be another when it can.
    unknown = decision.phase is TaskPhase.WAITING and reason == item.halted(task)
    if decision.action is ActionKind.CREATE:
        why = str(whys.get(ref) or "not made yet")
        reason = f"{why}; {reason}" if decision.needs else why
    return Action(
        action=decision.action,
        task=task.kind,
        ref=ref,
        key=None if unknown else task.key,
        reason=reason,
        file=manifest.file,
        line=manifest.locate(()).line,
        gpus=task.resources.gpus,
        needs=decision.needs,
        again=record is not None and record.artifact is not None,
        note=_note(decision, record),
        took=_took(record, task.kind),
    )


def _note(decision: Decision, record: Record | None) -> str:
    """How a task stands, in the words of somebody who asks what it costs."""
    if decision.phase is TaskPhase.SUCCEEDED:
        thing = "image" if decision.task.kind is TaskKind.BUILD else "artifact"
        told = [f"its {thing} is there already"]
        for entry in record.history if record else ():
            if entry.key == decision.task.key and entry.phase is TaskPhase.SUCCEEDED:
                if entry.finished is not None:
                    told.append(f"made {entry.finished:%Y-%m-%d}")
                told += [f"{name} {value:.4g}" for name, value in list(entry.metrics.items())[:2]]
        return ", ".join(told)
    failed = [t for t in record.tasks if t.phase is TaskPhase.FAILED] if record else []
    if decision.action is ActionKind.CREATE and any(t.key == decision.task.key for t in failed):
        return "its failure is forgotten, because how it is run changes"
    if decision.action is ActionKind.CREATE and decision.needs:
        return decision.reason.replace("waiting for", "after", 1)
    return "" if decision.reason == "starts now" else decision.reason


def _took(record: Record | None, kind: TaskKind) -> float | None:
    for task in record.tasks if record else ():
        if task.phase is not TaskPhase.SUCCEEDED:
            continue
        if task.task is kind and task.started and task.finished:
            return max(0.0, (task.finished - task.started).total_seconds())
    return None


def _ended(plan: Plan) -> Iterator[Action]:
    """Live runs that a sync would cancel; those of objects that go are told as deletions."""
    builders = _builders(plan)
    for ending in plan.endings:
        ref = ending.run.object or builders.get(ending.run.name)
        item = plan.situation.desired.get(ref) if ref is not None else None
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
            )


def _builders(plan: Plan) -> dict[str, ObjectRef]:
    """The first object that each shared build was started for, by the build's run."""
    found: dict[str, ObjectRef] = {}
    for ref, record in plan.situation.records.items():
        for task in record.tasks:
            if task.task is TaskKind.BUILD and task.job is not None:
                found.setdefault(task.job, ref)
    return found


def _gone(plan: Plan) -> Iterator[Action]:
    live = {
        (ending.run.object, ending.run.task): ending.run
        for ending in plan.endings
        if ending.action is ActionKind.DELETE and ending.run.live
    }
    for ref, record in plan.situation.records.items():
        if ref in plan.removed:
            action, reason = ActionKind.DELETE, "its manifest was removed; its artifacts stay"
        elif ref in plan.kept:
            reason = plan.kept[ref]
            action = ActionKind.HOLD if reason.startswith("held") else ActionKind.KEEP
        else:
            continue
        file = record.manifest.path if record.manifest else None
        told = Action(
            action=action, task=None, ref=ref, key=None, reason=reason, file=file, note=reason
        )
        tasks = [t for t in record.tasks if t.phase is not TaskPhase.NEEDLESS]
        for task in tasks:
            run = live.get((ref, task.task))
            yield replace(told, task=task.task, key=task.key, run=run)
        if not tasks:
            yield told


def _refused(plan: Plan, errors: Sequence[Problem]) -> Iterator[Action]:
    first = {problem.object: problem for problem in reversed(errors) if problem.object}
    for ref, message in plan.situation.invalid.items():
        place = first[ref].location if ref in first else None
        last_good = ref in plan.situation.desired
        yield Action(
            action=ActionKind.REFUSE,
            task=None,
            ref=ref,
            key=None,
            reason=message,
            file=place.file if place else None,
            line=place.line if place else None,
            note="stays as it is" if last_good else "is not made",
        )
