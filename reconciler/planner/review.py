"""A plan as a reviewer, or a program, is shown it: the JSON form is a fixed interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.planner.plan import ActionKind, Decision, Hold, Plan
from reconciler.planner.record import TaskPhase
from reconciler.types import JSON, Commit, ObjectRef, Problem, TaskKey, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One line of a plan. ``task`` and ``key`` are None where they are not known."""

    action: ActionKind
    task: TaskKind | None
    ref: ObjectRef
    key: TaskKey | None
    reason: str
    file: str | None = None
    line: int | None = None
    gpus: int = 0
    needs: tuple[TaskKey, ...] = ()

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
class Review:
    """A plan between two commits."""

    base: Commit
    head: Commit
    actions: tuple[Action, ...]
    errors: tuple[Problem, ...]
    holds: tuple[Hold, ...] = ()
    counts: Mapping[ActionKind, int] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether a sync would change anything."""
        return any(action.action.changes for action in self.actions)

    @property
    def gpus(self) -> int:
        """GPUs of all runs that would be created."""
        return sum(a.gpus for a in self.actions if a.action is ActionKind.CREATE)

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


def review(
    plan: Plan,
    *,
    base: Commit,
    head: Commit,
    errors: Sequence[Problem],
    reasons: Mapping[ObjectRef, str | None],
) -> Review:
    """The plan of ``head``, with ``reasons`` that say what each object's change comes from."""
    actions = [_decided(plan, decision, reasons) for decision in plan.decisions]
    actions += _ended(plan)
    actions += _gone(plan)
    actions += _refused(plan, errors)
    actions.sort(key=lambda a: (a.ref, list(TaskKind).index(a.task) if a.task else 9, a.action))
    return Review(
        base=base,
        head=head,
        actions=tuple(actions),
        errors=tuple(errors),
        holds=plan.holds,
        counts=Counter(action.action for action in actions),
    )


def _decided(plan: Plan, decision: Decision, reasons: Mapping[ObjectRef, str | None]) -> Action:
    manifest = plan.situation.desired[decision.ref].manifest
    reason = decision.reason
    if decision.action is ActionKind.CREATE:
        why = reasons.get(decision.ref) or "not made yet"
        reason = f"{why}; {reason}" if decision.needs else why
    return Action(
        action=decision.action,
        task=decision.task.kind,
        ref=decision.ref,
        key=decision.task.key,
        reason=reason,
        file=manifest.file,
        line=manifest.locate(()).line,
        gpus=decision.task.resources.gpus,
        needs=decision.needs,
    )


def _ended(plan: Plan) -> list[Action]:
    """Live runs that a sync would cancel; those of objects that go are told as deletions."""
    actions = []
    for ending in plan.endings:
        ref = ending.run.object
        item = plan.situation.desired.get(ref) if ref is not None else None
        if item is None or ending.action is not ActionKind.CANCEL:
            continue
        actions.append(
            Action(
                action=ActionKind.CANCEL,
                task=ending.run.task,
                ref=item.ref,
                key=ending.run.key,
                reason=ending.reason,
                file=item.manifest.file,
                line=item.manifest.locate(()).line,
            )
        )
    return actions


def _gone(plan: Plan) -> list[Action]:
    actions = []
    for ref, record in plan.situation.records.items():
        if ref in plan.removed:
            action, reason = ActionKind.DELETE, "its manifest was removed; its artifacts stay"
        elif ref in plan.kept:
            reason = plan.kept[ref]
            action = ActionKind.HOLD if reason.startswith("held") else ActionKind.KEEP
        else:
            continue
        file = record.manifest.path if record.manifest else None
        tasks = [t for t in record.tasks if t.phase is not TaskPhase.NEEDLESS]
        actions += [
            Action(action=action, task=t.task, ref=ref, key=t.key, reason=reason, file=file)
            for t in tasks
        ] or [Action(action=action, task=None, ref=ref, key=None, reason=reason, file=file)]
    return actions


def _refused(plan: Plan, errors: Sequence[Problem]) -> list[Action]:
    first = {problem.object: problem for problem in reversed(errors) if problem.object}
    return [
        Action(
            action=ActionKind.REFUSE,
            task=None,
            ref=ref,
            key=None,
            reason=message,
            file=first[ref].location.file if ref in first else None,
            line=first[ref].location.line if ref in first else None,
        )
        for ref, message in plan.situation.invalid.items()
    ]
