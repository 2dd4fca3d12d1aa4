"""A world of the whole loop: gates, money, and a bucket that is collected.

The planner, the ledger and the collection's plan are the product's. What the daemon does with their
answers is done here, one step at a time, so that it can be killed between any two. What must hold
is worked out apart from them: who was let through, who reaches what, when it was hidden, and money.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from reconciler.daemon.retention_reader import RecordedArtifacts, recorded_artifacts
from reconciler.engine import FailureClass, Run, RunSpec
from reconciler.engines.local import ArtifactFacts, ArtifactState
from reconciler.planner import (
    HistoryEntry,
    OwnCluster,
    Plan,
    RetainedArtifact,
    RetentionInput,
    RetentionPlan,
    RetentionPolicy,
    TaskPhase,
    collect_roots,
    desired_keys_of,
    desired_references,
    plan_doubts,
    plan_retention,
    recorded_references,
    run_doubts,
    run_references,
)
from reconciler.planner.endings import announced_endings
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.plan import RunDeletion
from reconciler.planner.status_update import update_status
from reconciler.types import ObjectRef, TaskKey, TaskKind
from tests.planner.world import BUCKET, World

OWN = OwnCluster(cluster="local", buckets=(BUCKET,), registry="registry/image")
HOUR = timedelta(hours=1)
#: An artifact has this size, but for an evaluation, which is small.
SIZE = 100


@dataclass(slots=True)
class Stored:
    """An artifact's folder in the bucket: its marker, and when that was moved.

    ``made`` is its end, or when it was taken back since.
    """

    ref: ObjectRef
    task: TaskKind
    inputs: tuple[TaskKey, ...]
    evaluated: TaskKey | None
    made: datetime
    hidden: datetime | None = None

    @property
    def facts(self) -> ArtifactFacts:
        state = ArtifactState.COMPLETE if self.hidden is None else ArtifactState.HIDDEN
        size = SIZE if self.evaluated is None else 1
        return ArtifactFacts(state=state, size=size, inputs=self.inputs, evaluated=self.evaluated)


@dataclass
class LoopWorld(World):
    """A world with a bucket; ``policy`` is that of collections.

    ``spent`` is what ended runs have cost by month. ``refuses``: the engine ends no run
    for now, but for those of removed objects, and ``refused`` has the runs that it did not end at
    first; ``unsure`` is what a daemon may miss of these. ``slow``: what it ends takes its time.
    """

    policy: RetentionPolicy = field(default_factory=RetentionPolicy)
    bucket: dict[TaskKey, Stored] = field(default_factory=dict)
    removed: dict[ObjectRef, ObjectStatus] = field(default_factory=dict)
    last: Plan | None = None
    price: float = 1.0
    spent: dict[str, float] = field(default_factory=dict)
    refuses: bool = False
    refused: set[str] = field(default_factory=set)
    unsure: dict[str, float] = field(default_factory=dict)
    slow: bool = False
    compares: bool = False

    # -- a sync, step by step ------------------------------------------------------------------

    def sync_until(self, stop: int) -> bool:
        """Sync; the daemon is killed after ``stop`` steps. Returns whether it was not."""
        plan = self.plan()
        hidden = {key for key, _ in desired_keys_of(plan)} & self.ledger.hidden.keys()
        for key in sorted(hidden):
            self.restore(key)
        plan = self.plan() if hidden else plan
        self.look(plan)
        self.ledger.use_releases(hold.id for hold in plan.released)
        plan = self.announce(plan)
        steps: list[RunDeletion | RunSpec] = [*plan.endings, *plan.creates()]
        refused: set[str] = set()
        cleared: dict[str, float] = {}
        for step in steps[:stop]:
            if isinstance(step, RunSpec):
                self.check_creation(step)
                self.created.append(step)
                self.specs[step.name] = step
                self.runs[step.name] = replace(step.pending(), created=self.now)
            elif step.run.live and self.refuses and step.run.object not in plan.removed:
                refused.add(step.run.name)
            elif step.run.live:
                self.pay(step.run.name)
                self.end(step.run.name)
            else:
                cleared[step.run.name] = self.cost_until_end(self.runs.pop(step.run.name))
        self.refused |= refused
        if stop <= len(steps):
            # Nothing is known of what failed without a daemon, and its first sync clears.
            self.unsure[self.month] = self.unsure.get(self.month, 0.0) + sum(cleared.values())
            self.restart()
            return False
        self.record(plan, refused)
        return True

    def end(self, name: str) -> None:
        """End a run, which is there until `vanish` if the engine is slow."""
        if self.slow:
            self.runs[name] = replace(self.runs[name], deleting=True)
        else:
            del self.runs[name]

    def vanish(self) -> None:
        """Let all go that is being deleted."""
        self.runs = {name: run for name, run in self.runs.items() if not run.deleting}

    def announce(self, plan: Plan) -> Plan:
        """Record the runs that a plan ends; the plan goes on with those records."""
        self.records |= announced_endings(plan)
        return replace(plan, inputs=replace(plan.inputs, records=dict(self.records)))

    def record(self, plan: Plan, refused: Container[str] = ()) -> None:
        """Write the statuses, as the last step of a sync; one that is as before stays."""
        found = update_status(plan, changed={}, places={}, going_on=refused)
        self.records |= {r: each for r, each in found.items() if self.records.get(r) != each}
        for record in self.records.values():
            self.ledger.learn_image_keys(record)
        self.cache.applied = self.last = plan
        for ref in plan.removed:
            gone = self.records.pop(ref, None)
            if gone is not None:
                self.removed[ref] = gone
                self.ledger.removed_spent[ref] = gone.spent

    def restart(self) -> None:
        """Another daemon: it has the records, and the engine's runs."""
        self.ledger, self.last = Ledger(), None
        self.cache = type(self.cache)()
        for record in (*self.records.values(), *self.removed.values()):
            self.ledger.learn_record(record)
        for ref, record in self.removed.items():
            self.ledger.removed_spent[ref] = record.spent

    def look(self, plan: Plan) -> None:
        """Note what the manifests of a plan ask for."""
        raise NotImplementedError

    def check_creation(self, spec: RunSpec) -> None:
        """Hold a creation against what this test says must hold."""
        raise NotImplementedError

    # -- money ---------------------------------------------------------------------------------

    @property
    def month(self) -> str:
        return f"{self.now:%Y-%m}"

    def cost(self, name: str) -> float:
        """What a run has cost so far."""
        run, spec = self.runs[name], self.specs[name]
        hours = (self.now - run.started) / HOUR if run.started is not None else 0.0
        return hours * spec.resources.gpus * self.price

    def cost_until_end(self, run: Run) -> float:
        """What an ended run has cost, if it has failed by no fault of its command."""
        failed = run.failure is FailureClass.INFRASTRUCTURE
        if not failed or run.started is None or run.finished is None:
            return 0.0
        gpus = self.specs[run.name].resources.gpus
        return (run.finished - run.started) / HOUR * gpus * self.price

    def pay(self, name: str) -> None:
        cost = self.cost(name)
        self.spent[self.month] = self.spent.get(self.month, 0.0) + cost
        if name in self.refused:
            self.unsure[self.month] = self.unsure.get(self.month, 0.0) + 0.1 * cost + 0.05

    def working(self) -> list[str]:
        """The live runs that are not being deleted."""
        return [name for name in self.live() if not self.runs[name].deleting]

    def succeed(self, name: str) -> None:
        if self.runs[name].started is None:
            self.start(name)
        self.pay(name)
        super().succeed(name)
        spec, ref = self.specs[name], self.specs[name].object
        if ref is not None:
            read = (spec.base, spec.dataset, spec.artifact)
            self.bucket[spec.key] = Stored(
                ref=ref,
                task=spec.task,
                inputs=tuple(mounted.key for mounted in read if mounted is not None),
                evaluated=spec.artifact.key if spec.artifact is not None else None,
                made=self.now,
            )

    # -- a collection, step by step ------------------------------------------------------------

    def retention(self) -> RetentionInput | None:
        """What a collection of the daemon's would be planned from."""
        if self.last is None:
            return None
        known = self.recorded()
        facts = {key: self.facts(key) for key in known}
        self.learn(facts)
        found = RecordedArtifacts(artifacts=self.recorded(), facts=facts, doubts=())
        references = [
            *recorded_references(self.records, self.policy, self.now),
            *desired_references(self.last),
            *run_references(self.runs.values()),
        ]
        return RetentionInput(
            policy=self.policy,
            now=self.now,
            artifacts=found.retained(self.ledger),
            roots=collect_roots(references),
            doubts=(*plan_doubts(self.last), *run_doubts(self.last)),
            released=self.released,
        )

    def collect_until(self, stop: int) -> RetentionPlan | None:
        """Collect; the daemon is killed after ``stop`` steps."""
        inputs = self.retention()
        if inputs is None:
            return None
        plan = plan_retention(inputs)
        steps = [(self.hide, key) for key in plan.hide] + [
            (self.remove, key) for key in plan.remove
        ]
        steps += [(self.restore, key) for key in plan.restore]
        for step, key in steps[:stop]:
            step(key)
        if stop < len(steps):
            self.restart()
        return plan

    def recorded(self) -> dict[TaskKey, RetainedArtifact]:
        records = (*self.records.values(), *self.removed.values())
        return recorded_artifacts(records, self.ledger, OWN, self.now)

    def facts(self, key: TaskKey) -> ArtifactFacts | None:
        return self.bucket[key].facts if key in self.bucket else None

    def learn(self, facts: dict[TaskKey, ArtifactFacts | None]) -> None:
        """Take over what a user, or a daemon that was killed, did to the bucket."""
        for key, each in facts.items():
            hidden = key in self.ledger.hidden
            if hidden and each is None:
                self.note_removed(key)
            elif hidden and each is not None and each.state is ArtifactState.COMPLETE:
                self.note_restored(key)
            elif not hidden and each is not None and each.state is not ArtifactState.COMPLETE:
                self.note_hidden(key)

    def hide(self, key: TaskKey) -> None:
        self.bucket[key].hidden = self.now
        self.note_hidden(key)

    def restore(self, key: TaskKey) -> None:
        if key in self.bucket:
            self.bucket[key].hidden = None
            self.note_restored(key)
        else:
            self.note_removed(key)

    def remove(self, key: TaskKey) -> None:
        del self.bucket[key]
        self.note_removed(key)

    def note_hidden(self, key: TaskKey) -> None:
        self.ledger.hidden[key] = self.now
        self.mark(key, hidden=self.now)

    def note_restored(self, key: TaskKey) -> None:
        self.ledger.hidden.pop(key, None)
        self.bucket[key].made = self.now
        self.mark(key, hidden=None, restored=self.now)

    def note_removed(self, key: TaskKey) -> None:
        self.ledger.collect(key, self.now)
        self.mark(key, hidden=None, collected=self.now)

    def mark(self, key: TaskKey, **times: datetime | None) -> None:
        """Mark an artifact's entries, as the status store does."""
        for records in (self.records, self.removed):
            for ref, record in records.items():
                if any(entry.key == key for entry in record.history):
                    marked = tuple(_marked(entry, key, times) for entry in record.history)
                    records[ref] = replace(record, history=marked)

    # -- what must stay ------------------------------------------------------------------------

    def reachable(self, asked: Iterable[TaskKey | None]) -> set[TaskKey]:
        """What must stay, worked out apart from the planner's collection.

        ``asked`` are the keys that the manifests at head ask for. What no record has, as the object
        was removed while it was made, is nobody's newest.
        """
        roots = {key for key in asked if key is not None}
        for record in self.records.values():
            current = (record.artifact, record.candidate)
            roots |= {each.key for each in current if each is not None}
        for name in self.live():
            roots |= {self.specs[name].key, *self.read_by(self.specs[name])}
        young = timedelta(days=self.policy.days)
        listed = {key: self.bucket[key] for key in self.listed() if key in self.bucket}
        roots |= {key for key, each in listed.items() if self.now - each.made < young}
        for ref in {each.ref for each in listed.values()}:
            own = {k: a.made for k, a in listed.items() if a.ref == ref and a.evaluated is None}
            # Of those made at one moment, any may be the last that is kept.
            roots |= {
                key
                for key, made in own.items()
                if sum(other >= made for other in own.values()) <= self.policy.keep
            }
        return self.closure(roots)

    def listed(self) -> set[TaskKey]:
        """What the histories of all objects have as made."""
        records = (*self.records.values(), *self.removed.values())
        made = (entry for record in records for entry in record.history)
        return {entry.key for entry in made if entry.phase is TaskPhase.SUCCEEDED}

    def closure(self, roots: set[TaskKey]) -> set[TaskKey]:
        """These, what they were made from, and their evaluations."""
        found, waiting = set[TaskKey](), list(roots)
        while waiting:
            key = waiting.pop()
            if key in found:
                continue
            found.add(key)
            waiting += self.bucket[key].inputs if key in self.bucket else ()
            waiting += [each for each, a in self.bucket.items() if a.evaluated == key]
        return found

    @staticmethod
    def read_by(spec: RunSpec) -> Iterator[TaskKey]:
        for mounted in (spec.base, spec.dataset, spec.artifact):
            if mounted is not None:
                yield mounted.key


def _marked(entry: HistoryEntry, key: TaskKey, times: dict[str, datetime | None]) -> HistoryEntry:
    if entry.key != key or entry.phase is not TaskPhase.SUCCEEDED:
        return entry
    return replace(entry, **times)  # type: ignore[arg-type]
