"""Wanted tasks, with the gates that they wait for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.planner.gates import Judgement, judge, required_keys
from reconciler.planner.plan import PlanInput
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.types import ObjectRef, TaskKey


@dataclass(slots=True)
class WantedTasks:
    """The keys of incomplete tasks that objects' artifacts need.

    ``producers`` has the task of each key, with its object.
    """

    inputs: PlanInput
    objects: Mapping[ObjectRef, ResolvedObject]
    keys: set[TaskKey] = field(default_factory=set)
    producers: dict[TaskKey, tuple[ObjectRef, Task]] = field(default_factory=dict)
    verdicts: dict[ObjectRef, Judgement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        producers = self.producers
        roots: list[TaskKey] = []
        for item in self.objects.values():
            for task in item.tasks:
                if task.key is not None:
                    producers.setdefault(task.key, (item.ref, task))
            roots.extend(self._evaluations(item))
            root = item.key if item.key is not None and item.external is None else None
            if root is None and not item.variants:
                root = self._last(item)
            if root is not None:
                roots.append(root)
            # Also those that the best one has made needless: the next best may be of use.
            roots.extend(v.task.key for v in item.variants if v.task.key is not None)
        while roots:
            key = roots.pop()
            if key in self.keys or self.is_complete(key) or key in self.inputs.ledger.restoring:
                continue
            self.keys.add(key)
            if key in producers:
                roots.extend(producers[key][1].needs)

    @staticmethod
    def _last(item: ResolvedObject) -> TaskKey | None:
        """Return the last known key of an object whose artifact is unknown."""
        build = item.gate.build if item.gate is not None else None
        known = (t.key for t in reversed(item.tasks) if t.key is not None and t is not build)
        return next(known, None)

    def _evaluations(self, item: ResolvedObject) -> Iterator[TaskKey]:
        """Yield the evaluations that an object asks for.

        That of the accepted artifact is of use only while another is judged. While the key of an
        evaluation is unknown, its image can be built already.
        """
        gate = item.gate
        if gate is None or gate.task is None:
            return
        if gate.task.key is None:
            if gate.build is not None and gate.build.key is not None:
                yield gate.build.key
        else:
            yield gate.task.key
            current = gate.current_task.key if gate.current_task is not None else None
            if current is not None and not self.judgement(item.ref).accepted:
                yield current

    def judgement(self, ref: ObjectRef) -> Judgement:
        """Return the verdict of an object's gate; what is unchanged is accepted."""
        if ref not in self.verdicts:
            inputs = self.inputs
            item = inputs.desired[ref]
            self.verdicts[ref] = judge(item, inputs.records.get(ref), inputs.ledger)
        return self.verdicts[ref]

    def unaccepted(self, task: Task) -> Iterator[tuple[ObjectRef, Judgement]]:
        """Yield the gates that have not accepted what a task reads."""
        found = ((ref, self.judgement(ref)) for ref in task.gates)
        return ((ref, judgement) for ref, judgement in found if not judgement.accepted)

    def needs(self, task: Task) -> Iterator[TaskKey]:
        """Yield the keys that must be complete before a task.

        Those of the evaluations of its base are among them.
        """
        yield from task.needs
        for ref, judgement in self.unaccepted(task):
            if not judgement.rejected:
                yield from required_keys(self.inputs.desired[ref])

    def is_complete(self, key: TaskKey) -> bool:
        """Return whether a key's result is there."""
        ledger, made_by = self.inputs.ledger, self.producers.get(key)
        if made_by is None:
            return key in ledger.completed
        return ledger.has(key, made_by[1].kind)
