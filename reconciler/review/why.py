"""Tasks, needs and remedies of an object, as text. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from reconciler.manifests import EvaluationSection, LoadSection, TrainingSection
from reconciler.planner import (
    ActionKind,
    Hold,
    ObjectStatus,
    Plan,
    ResolvedObject,
    TaskAction,
    TaskPhase,
    judge,
    newest_printed,
)
from reconciler.reasons import ON_FILES, ON_OTHERS, Reason, ReasonCode, message, names, remedy
from reconciler.review.variants import variant_text
from reconciler.types import ObjectRef, TaskKey

Line = tuple[int, str]
#: A chain of needs is followed so far; a base of a base of a base is enough for most.
_DEEPEST = 12


def why_lines(plan: Plan, ref: ObjectRef) -> Iterator[Line]:
    """Yield lines with their depth: each task, and below it its needs."""
    yield from _Explanation(plan).of(ref)


class _Explanation:
    """One walk over a plan; each need is explained once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._explained: set[TaskKey] = set()
        self._held: set[str] = set()
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
            yield 1, _until_mended(plan, ref)
        if ref in plan.removed:
            yield 0, "Its manifest is gone: the next sync removes it. Its artifacts stay."
            return
        if ref in plan.kept:
            holds = [hold for hold in plan.holds if ref in hold.objects]
            if holds:
                yield 0, "Its manifest is gone, and its removal is held"
                for hold in holds:
                    yield from self._hold(hold, 1)
            else:
                yield 0, message(plan.kept[ref])
                yield from _remedy(plan.kept[ref], 1)
            return
        item = plan.inputs.desired.get(ref)
        if item is not None:
            yield from self._wanted(item)

    def _wanted(self, item: ResolvedObject) -> Iterator[Line]:
        if item.blocked is not None:
            yield 0, f"Not all of its tasks are known: {message(item.blocked)}."
            yield from _remedy(item.blocked.root, 1)
        if item.promoted is not None:
            yield 0, f"Nothing runs for it: it takes over the artifact of {item.promoted}."
            yield from self._need(item.key, 1)
        elif not item.tasks and item.external is not None:
            yield 0, f"Nothing runs for it: {item.external.at} is there already."
        yield from _sweep(item)
        variants = {variant.task.key: variant.params for variant in item.variants}
        for decision in self._plan.decisions:
            if decision.ref == item.ref and (decision.task.key or item.blocked is None):
                params = variants.get(decision.task.key)
                of = f" ({variant_text(params)})" if params is not None else ""
                yield 0, f"{decision.task.label}{of}: {self._state(decision)}"
                yield from self._below(decision, 1)
        yield from self._gate(item)

    def _gate(self, item: ResolvedObject) -> Iterator[Line]:
        """Say which lines an object's artifact has failed."""
        inputs = self._plan.inputs
        found = judge(item, inputs.records.get(item.ref), inputs.ledger)
        if found.rejected and item.key is not None:
            yield 0, f"Its gate has rejected artifact {item.key}:"
            for line in found.failed:
                yield 1, line
            yield 1, f"What to do: {remedy(ReasonCode.GATE_FAILED)}"

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
        needs = self._open_needs(decision)
        if needs:
            return f"waits for {names(needs)}"
        starts = (
            decision.action is ActionKind.CREATE and decision.reason.code is ReasonCode.STARTING
        )
        return "starts with the next sync" if starts else message(decision.reason)

    def _below(self, decision: TaskAction, depth: int) -> Iterator[Line]:
        if decision.phase is TaskPhase.FAILED and decision.task.key is not None:
            todo = failure_remedy(self._plan, decision)
            log = log_command(decision, self._plan.inputs.records.get(decision.ref))
            if todo:
                yield depth, f"What to do: {todo}"
            if log:
                yield depth, f"`{log}` prints its log."
            again = f"or by `reconciler retry {decision.ref.name}`"
            yield depth, f"It runs again when its inputs or settings change, {again}."
        for hold in self._plan.holds:
            if decision.hold == hold.id:
                yield from self._hold(hold, depth)
        needs = self._open_needs(decision)
        if decision.phase is TaskPhase.WAITING and not needs and not decision.needs:
            yield from _remedy(decision.reason.root, depth)
        for need in decision.task.needs if needs else decision.needs:
            yield from self._need(need, depth)

    def _hold(self, hold: Hold, depth: int) -> Iterator[Line]:
        """Explain a hold; the next time only name it."""
        if hold.id in self._held:
            yield depth, f"by the hold {hold.id}, as above"
            return
        self._held.add(hold.id)
        yield depth, f"{message(hold.reason)}."
        yield depth, f"To release it, add the line {hold.id} to {hold.place}, and commit that."

    def _open_needs(self, decision: TaskAction) -> list[ObjectRef]:
        """Return the needed objects that stand below a waiting task."""
        if decision.phase is not TaskPhase.WAITING or decision.reason.code not in ON_OTHERS:
            return []
        found = (self._by_key.get(key) for key in decision.task.needs)
        return [d.ref for d in found if d is not None and d.phase is not TaskPhase.SUCCEEDED]

    def _need(self, key: TaskKey | None, depth: int) -> Iterator[Line]:
        """Explain a needed task that is not complete, and its own needs."""
        decision = self._by_key.get(key) if key is not None else None
        if decision is None or decision.phase is TaskPhase.SUCCEEDED:
            return
        assert key is not None
        text = f"{decision.task.label} of {decision.ref}: {self._state(decision)}"
        if key in self._explained or depth > _DEEPEST:
            yield depth, f"{text} (as above)" if key in self._explained else text
            return
        self._explained.add(key)
        yield depth, text
        yield from self._below(decision, depth + 1)


def _sweep(item: ResolvedObject) -> Iterator[Line]:
    """Name the best variant of a sweep, or the reason against one."""
    sweep = item.sweep
    if sweep is None:
        return
    found = [variant for variant in sweep.variants if variant.task.key == item.key]
    if found and sweep.best is not None and item.key is not None:
        best = f"by {sweep.best.metric} ({sweep.best.goal})"
        yield 0, f"The best variant {best} is {item.key[:12]} ({variant_text(found[0].params)})."
    elif sweep.unknown is not None:
        yield 0, f"None of its variants is its artifact: {message(sweep.unknown)}."
        if sweep.ended:
            yield from _remedy(sweep.unknown.root, 1)


def _until_mended(plan: Plan, ref: ObjectRef) -> str:
    """Return what an invalid object is until its manifest is mended."""
    if ref in plan.inputs.desired:
        return "Until that is mended, it stays in its last good form."
    record = plan.inputs.records.get(ref)
    if record is None or record.never_ran:
        return "It has never run, and nothing runs for it until that is mended."
    return "Until that is mended, nothing runs for it."


def _remedy(reason: Reason, depth: int) -> Iterator[Line]:
    todo = remedy(reason.code)
    if todo:
        yield depth, f"What to do: {todo}"


def failure_remedy(plan: Plan, action: TaskAction) -> str:
    """Return the remedy of a failed task as sentences; empty without one.

    A file of the source is named by its path in its repository.
    """
    code = action.reason.root.code
    file, repository = _program(plan, action) if code in ON_FILES else ("", "")
    todo = remedy(code, file=file)
    return f"{todo} Its repository is {repository}." if repository else todo


def log_command(action: TaskAction, record: ObjectStatus | None) -> str:
    """Return the command that prints a task's log; empty without one."""
    tasks = record.tasks if record is not None else ()
    kind, key = action.task.kind, action.task.key
    task = next((t for t in tasks if t.task is kind and t.key == key and t.has_printed), None)
    if task is None:
        return ""
    if record is not None and any(variant.key == key for variant in record.variants):
        return f"reconciler logs {(key or '')[:12]}"
    which = "" if newest_printed(tasks) is task else f" --task {kind}"
    return f"reconciler logs {action.ref.name}{which}"


def _program(plan: Plan, action: TaskAction) -> tuple[str, str]:
    """Return the path of a command's program, and its repository's URL.

    The URL is empty for the manifests' own, and the path for an image that no build here makes.
    """
    section, build = action.task.section, action.task.image_build
    if build is None or not isinstance(section, LoadSection | TrainingSection | EvaluationSection):
        return "", ""
    command = section.command or [""]
    for item in plan.inputs.desired.values():
        for task in item.tasks:
            if task.key == build and task.source is not None:
                git = task.source.request
                return posixpath.normpath(posixpath.join(git.path, command[0])), git.url
    return "", ""
