"""A plan as a reviewer, or a program, is shown it: the JSON form is a fixed interface.

A pull request is judged by what it changes. So the plan of its head is held against the plan of
its base, on the same state: what both would do alike is not this change's doing, and only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.manifests.collect import references
from reconciler.planner.explain import Effect, Why, explain
from reconciler.planner.plan import ActionKind, Decision, Ending, Hold, Plan
from reconciler.planner.record import Record, TaskPhase
from reconciler.run import Run
from reconciler.types import JSON, Commit, Location, ObjectRef, Problem, TaskKey, TaskKind


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReview:
    """An object that the change touches. ``free`` says why nothing runs for it, where that is so.

    ``upstream`` are the objects that it is made from.
    """

    ref: ObjectRef
    why: Why | None
    place: Location | None
    actions: tuple[Action, ...]
    free: str = ""
    upstream: tuple[ObjectRef, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether there is no more to say of it than the errors in its manifest do."""
        return bool(self.actions) and all(a.action is ActionKind.REFUSE for a in self.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A plan between two commits; ``objects`` are those that the change touches, upstream first."""

    base: Commit
    head: Commit
    actions: tuple[Action, ...]
    errors: tuple[Problem, ...]
    now: datetime
    holds: tuple[Hold, ...] = ()
    objects: tuple[ObjectReview, ...] = ()
    counts: Mapping[ActionKind, int] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether a sync would change anything."""
        return any(action.action.changes for action in self.actions)

    @property
    def gpus(self) -> int:
        """GPUs of all runs that would be created."""
        return sum(a.gpus for a in self.actions if a.action is ActionKind.CREATE)

    def caused(self, kind: ActionKind) -> list[Action]:
        """The actions of a kind that this change is the cause of."""
        return [a for a in self.actions if a.caused and a.action is kind]

    @property
    def others(self) -> Mapping[ActionKind, int]:
        """How many actions a sync takes, or leaves waiting, with or without this change."""
        kinds = (a.action for a in self.actions if not a.caused)
        return Counter(kind for kind in kinds if kind is not ActionKind.KEEP)

    def to_json(self) -> dict[str, JSON]:
        """As ``plan --format json`` prints it."""
        summary: dict[str, JSON] = {kind.value: self.counts.get(kind, 0) for kind in ActionKind}
        summary["gpus"] = self.gpus
        summary["errors"] = len(self.errors)
        summary["holds"] = [
            {"id": hold.id, "kind": hold.kind.value, "reason": hold.reason} for hold in self.holds
        ]
        return {
            "base": self.base,
            "head": self.head,
            "actions": [action.to_json() for action in self.actions],
            "errors": [problem.to_json() for problem in self.errors],
            "summary": summary,
        }


def review(plan: Plan, *, before: Plan, errors: Sequence[Problem]) -> Review:
    """The plan of a head, held against the plan of its base on the same state."""
    desired = plan.situation.desired
    whys = explain(before.situation.desired, desired)
    same = {_identity(action) for action in _all(before, {}, ())}
    actions = [
        replace(action, caused=_identity(action) not in same) for action in _all(plan, whys, errors)
    ]
    actions.sort(key=lambda a: (a.ref, list(TaskKind).index(a.task) if a.task else 9, a.action))
    return Review(
        base=before.situation.head,
        head=plan.situation.head,
        actions=tuple(actions),
        errors=tuple(errors),
        now=plan.situation.now,
        holds=plan.holds,
        objects=tuple(_touched(plan, whys, actions)),
        counts=Counter(action.action for action in actions),
    )


def _all(plan: Plan, whys: Mapping[ObjectRef, Why], errors: Sequence[Problem]) -> Iterator[Action]:
    for decision in plan.decisions:
        yield _decided(plan, decision, whys)
    yield from _ended(plan)
    yield from _gone(plan)
    yield from _refused(plan, errors)


def _identity(action: Action) -> tuple[object, ...]:
    """What makes an action of two plans the same; a refusal is another with each message."""
    message = action.reason if action.action is ActionKind.REFUSE else None
    return action.ref, action.task, action.action, action.key, message


def _decided(plan: Plan, decision: Decision, whys: Mapping[ObjectRef, Why]) -> Action:
    ref, task = decision.ref, decision.task
    manifest = plan.situation.desired[ref].manifest
    record = plan.situation.records.get(ref)
    reason = decision.reason
    if decision.action is ActionKind.CREATE:
        why = str(whys.get(ref) or "not made yet")
        reason = f"{why}; {reason}" if decision.needs else why
    return Action(
        action=decision.action,
        task=task.kind,
        ref=ref,
        key=task.key,
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
    for ending in plan.endings:
        ref = ending.run.object or _builder(plan, ending)
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


def _builder(plan: Plan, ending: Ending) -> ObjectRef | None:
    """The first object that a shared build was started for."""
    for ref, record in plan.situation.records.items():
        if any(task.job == ending.run.name for task in record.tasks):
            return ref
    return None


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


# -- by object -----------------------------------------------------------------------------


def _touched(
    plan: Plan, whys: Mapping[ObjectRef, Why], actions: Iterable[Action]
) -> Iterator[ObjectReview]:
    """Objects with an action that this change causes, or with a manifest that it changes."""
    by_ref: dict[ObjectRef, list[Action]] = {}
    for action in actions:
        if action.caused:
            by_ref.setdefault(action.ref, []).append(action)
    desired = plan.situation.desired
    for ref in [*desired, *(ref for ref in sorted(by_ref) if ref not in desired)]:
        why, caused = whys.get(ref), by_ref.get(ref, [])
        needless = "not needed: what it is for is complete"
        shown = tuple(action for action in caused if action.note != needless)
        if why is None and not shown:
            continue
        yield ObjectReview(
            ref=ref,
            why=why,
            place=_place(why, shown),
            actions=_together(shown),
            free="" if shown else _free(plan, ref, why),
            upstream=tuple(_upstream(plan, ref)),
        )


def _together(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """The tasks of an object that goes as one, but for those with a run that is ended by it."""
    going = [a for a in actions if a.action is ActionKind.DELETE and a.run is None]
    if not going:
        return actions
    return (*(a for a in actions if a not in going), replace(going[0], task=None, key=None))


def _place(why: Why | None, actions: Sequence[Action]) -> Location | None:
    refused = [a for a in actions if a.action is ActionKind.REFUSE and a.file]
    if why is not None and why.place is not None and not refused:
        return why.place
    for action in refused or actions:
        if action.file is not None:
            return Location(action.file, action.line or 0)
    return None


def _free(plan: Plan, ref: ObjectRef, why: Why | None) -> str:
    item = plan.situation.desired[ref]
    if item.promoted is not None:
        there = item.given is not None or plan.situation.ledger.result(item.key) is not None
        when = ", which is there already" if there else " once it is made"
        return f"takes over the artifact of {item.promoted}{when}"
    if item.blocked is not None:
        mended = why is not None and why.because
        return f"stays as it is{' until that is mended' if mended else f', {item.blocked}'}"
    if item.given is not None:
        return "what it names is there already"
    effects = {change.effect for change in why.fields} if why else set()
    if effects == {Effect.HOW} and why is not None and not why.because:
        return "only how it is run changes, for runs from now on; what is made stays"
    if Effect.WHAT not in effects and why is not None and not (why.own or why.because):
        return "what is made stays"
    return "nothing runs for it"


def _upstream(plan: Plan, ref: ObjectRef) -> Iterator[ObjectRef]:
    item = plan.situation.desired.get(ref)
    if item is not None:
        yield from dict.fromkeys(up for up, _, _ in references(item.manifest))
