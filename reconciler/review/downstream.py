"""The runs that another commit or artifact causes. Pure.

A pull request is planned from its own commit. The text of a request that the daemon opens is
written before that: its runs are found along the references, with the forecasts of the tasks that
there are now. What a gate rejects then, and what is there already, makes fewer of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from reconciler.planner import ActionKind, Forecaster, Plan, ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.review.actions import Action
from reconciler.review.estimate import estimate, estimate_text
from reconciler.review.sentences import runs
from reconciler.types import ObjectRef, SourceField, TaskKey

_STARTS = Reason.of(ReasonCode.STARTING)


@dataclass(slots=True)
class Downstream:
    """The runs downstream of one plan's objects.

    Its indexes are made when they are needed.
    """

    plan: Plan
    _users: dict[ObjectRef, list[ObjectRef]] | None = None
    _places: dict[ObjectRef, int] = field(default_factory=dict)
    _forecaster: Forecaster | None = None

    def of_source(self, ref: ObjectRef, source: SourceField) -> list[Action]:
        """Return the runs that other files of an object's source cause."""
        return list(self._runs(ref, set(), source))

    def of_artifact(self, ref: ObjectRef) -> list[Action]:
        """Return the runs that another artifact of a promotion causes."""
        key = self.plan.inputs.desired[ref].key
        return list(self._runs(ref, {key} if key is not None else set(), None))

    def estimate(self, actions: list[Action]) -> str:
        """Format what runs take and cost; empty without any."""
        settings = self.plan.inputs.settings
        found = estimate(
            actions,
            settings.prices,
            limit_runs=settings.limit_runs,
            limit_gpus=settings.limit_gpus,
        )
        return estimate_text(found, settings.prices)

    def _runs(
        self, first: ObjectRef, changed: set[TaskKey], source: SourceField | None
    ) -> Iterator[Action]:
        """Yield a run of each task that reads what changes, upstream first."""
        desired, seen = self.plan.inputs.desired, set[tuple[str, TaskKey]]()
        for ref in self._reached(first):
            item = desired[ref]
            if item.manifest.document.spec.suspend:
                continue
            for task in item.tasks:
                moved = ref == first and task.source is not None and task.source.field is source
                if task.key is None or not (moved or _read(task) & changed):
                    continue
                changed.add(task.key)
                if (ref.namespace, task.key) not in seen:  # builds are shared
                    seen.add((ref.namespace, task.key))
                    yield self._run(ref, task, task.key)
            current = self._compared_again(item, changed, source if ref == first else None)
            if current is not None and item.gate is not None and item.gate.task is not None:
                yield self._run(ref, item.gate.task, current)

    def _compared_again(
        self, item: ResolvedObject, changed: set[TaskKey], moved: SourceField | None
    ) -> TaskKey | None:
        """Return the accepted artifact that a changed test evaluates anew.

        The next artifact is compared with it. Where they are compared already, its evaluation is
        among the object's tasks.
        """
        gate = item.gate
        test = gate.task if gate is not None and gate.current_task is None else None
        if gate is None or test is None or item.key not in changed:
            return None
        named = moved is not None and test.source is not None and test.source.field is moved
        compares = any(line.current is not None for line in gate.lines)
        if not compares or not (named or changed & {test.dataset, *_image(test)}):
            return None
        record = self.plan.inputs.records.get(item.ref)
        return record.artifact.key if record is not None and record.artifact is not None else None

    def _run(self, ref: ObjectRef, task: Task, key: TaskKey) -> Action:
        inputs = self.plan.inputs
        if self._forecaster is None:
            prices = inputs.settings.prices
            self._forecaster = Forecaster(inputs.records, inputs.desired, prices)
        return Action(
            action=ActionKind.CREATE,
            task=task.kind,
            ref=ref,
            key=key,
            reason=_STARTS,
            resources=task.resources,
            forecast=self._forecaster.of(ref, task),
            after=task.needs,
            for_evaluation=task.for_evaluation,
        )

    def _reached(self, first: ObjectRef) -> list[ObjectRef]:
        """Return an object and those that are made from it, upstream first.

        References that pin a key follow nothing.
        """
        desired = self.plan.inputs.desired
        if self._users is None:
            self._users = defaultdict(list)
            for ref, item in desired.items():
                self._places[ref] = len(self._places)
                for up, reference, _ in item.manifest.references:
                    if isinstance(up, ObjectRef) and reference.key is None:
                        self._users[up].append(ref)
        found, left = {first}, [first]
        while left:
            for user in self._users.get(left.pop(), ()):
                if user not in found:
                    found.add(user)
                    left.append(user)
        return sorted(found, key=self._places.__getitem__)


def merge_text(actions: list[Action]) -> str:
    """Format what a merge runs."""
    return f"Merging it runs {runs(actions)}." if actions else "Merging it makes nothing run."


def _read(task: Task) -> set[TaskKey]:
    """Return the keys of what a task reads.

    The image that its object names itself is not among them.
    """
    read = {*task.needs, task.base, task.dataset, task.artifact}
    own = task.image_build if task.source is not None else None
    return {key for key in read if key is not None and key != own}


def _image(task: Task) -> set[TaskKey]:
    """Return the build of the image that another object names."""
    return {task.image_build} if task.source is None and task.image_build is not None else set()
