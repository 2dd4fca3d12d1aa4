"""The state of an object's tasks and their needs, as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.planner import RELEASE_FILE, ActionKind, Plan, ResolvedObject, TaskAction, TaskPhase
from reconciler.reasons import ReasonCode, message
from reconciler.types import ObjectRef, TaskKey

Line = tuple[int, str]
#: A chain of needs is followed so far; a base of a base of a base is enough for most.
_DEEPEST = 12
#: Reasons to wait for another object, whose own state is then shown.
_ON_OTHERS = frozenset(
    {
        ReasonCode.DEPENDENCY_BLOCKED,
        ReasonCode.REMOTE_STATUS_UNAVAILABLE,
        ReasonCode.REMOTE_INCOMPLETE,
        ReasonCode.REMOTE_ARTIFACT_REFUSED,
        ReasonCode.CLUSTER_NOT_CONFIGURED,
    }
)


def standing(plan: Plan, ref: ObjectRef) -> Iterator[Line]:
    """Yield lines with their depth: each task, and below it its needs."""
    yield from _Standing(plan).of(ref)


class _Standing:
    """One walk over a plan; each need is explained once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._explained: set[TaskKey] = set()
        self._by_key: dict[TaskKey, TaskAction] = {}
        for decision in plan.decisions:
            if decision.task.key is not None:
                known = self._by_key.get(decision.task.key)
                if known is None or known.action is ActionKind.KEEP:
                    self._by_key[decision.task.key] = decision

    def of(self, ref: ObjectRef) -> Iterator[Line]:
        plan = self._plan
        if ref in plan.inputs.invalid:
            yield 0, f"Its manifest is wrong: {plan.inputs.invalid[ref]}"
            yield 1, "Until that is mended, it stays in its last good form."
        if ref in plan.removed:
            yield 0, "Its manifest is gone: the next sync removes it. Its artifacts stay."
            return
        if ref in plan.kept:
            yield 0, message(plan.kept[ref])
            for hold in plan.holds:
                if ref in hold.objects:
                    yield 1, f"To release it, add the line {hold.id} to {RELEASE_FILE}."
            return
        item = plan.inputs.desired.get(ref)
        if item is not None:
            yield from self._wanted(item)

    def _wanted(self, item: ResolvedObject) -> Iterator[Line]:
        if item.blocked is not None:
            yield 0, f"Not all of its tasks are known: {message(item.blocked)}."
        if item.promoted is not None:
            yield 0, f"Nothing runs for it: it takes over the artifact of {item.promoted}."
            yield from self._need(item.key, 1)
        elif not item.tasks and item.given is not None:
            yield 0, f"Nothing runs for it: {item.given.at} is there already."
        for decision in self._plan.decisions:
            if decision.ref == item.ref and (decision.task.key or item.blocked is None):
                yield 0, f"{decision.task.kind}: {self._state(decision)}"
                yield from self._below(decision, 1)

    def _state(self, decision: TaskAction) -> str:
        match decision.phase:
            case TaskPhase.SUCCEEDED:
                return "complete"
            case TaskPhase.NEEDLESS:
                return "not needed, because what it is for is complete"
            case TaskPhase.FAILED:
                return f"failed, and is not run again: {message(decision.reason)}"
            case TaskPhase.RUNNING:
                plain = decision.reason.code is ReasonCode.RUNNING
                return "running" if plain else f"running: {message(decision.reason)}"
            case TaskPhase.HELD:
                return "held"
        if decision.needs:
            return "starts once what it needs is complete"
        starts = (
            decision.action is ActionKind.CREATE and decision.reason.code is ReasonCode.STARTING
        )
        return "starts with the next sync" if starts else message(decision.reason)

    def _below(self, decision: TaskAction, depth: int) -> Iterator[Line]:
        if decision.phase is TaskPhase.FAILED and decision.task.key is not None:
            again = f"`reconciler retry {decision.ref.name}` asks for one more run"
            yield depth, f"Its failure is remembered until what it runs, or how, changes; {again}."
        for hold in self._plan.holds:
            if decision.hold == hold.id:
                yield depth, f"{message(hold.reason)}."
                yield depth, f"To release it, add the line {hold.id} to {RELEASE_FILE}."
        waits = decision.phase is TaskPhase.WAITING and decision.reason.code in _ON_OTHERS
        for need in decision.task.needs if waits else decision.needs:
            yield from self._need(need, depth)

    def _need(self, key: TaskKey | None, depth: int) -> Iterator[Line]:
        """Explain a needed task that is not complete, and its own needs."""
        decision = self._by_key.get(key) if key is not None else None
        if decision is None or decision.phase is TaskPhase.SUCCEEDED:
            return
        assert key is not None
        text = f"{decision.task.kind} of {decision.ref}: {self._state(decision)}"
        if key in self._explained or depth > _DEEPEST:
            yield depth, f"{text} (as above)" if key in self._explained else text
            return
        self._explained.add(key)
        yield depth, text
        yield from self._below(decision, depth + 1)
