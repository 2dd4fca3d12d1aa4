"""The planner's input and output types: PlanInput, Plan and their parts."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.engine import Capacity, Run, RunSpec
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phases import TaskPhase
from reconciler.planner.planner_config import PlannerConfig
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import (
    Commit,
    ExecutionHash,
    Location,
    ObjectRef,
    Problem,
    TaskKey,
    TaskKind,
)


@dataclass(frozen=True, slots=True)
class ReportedTask:
    """A task's recorded phase and reason, for what only an engine knows."""

    phase: TaskPhase
    reason: Reason


#: Recorded tasks by key and execution hash.
ReportedTasks = Mapping[tuple[TaskKey, ExecutionHash], ReportedTask]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInput:
    """The complete input of a plan.

    ``invalid`` are the objects whose manifest at head is wrong, with the first error; those among
    them that are in ``desired`` stand there in their last good form. ``documents`` counts the
    manifests at head, right or wrong; ``unreadable`` is the first problem of one that is so wrong
    that the object it is of is unknown; ``tenant_unreadable`` those that can only be of a tenant's
    objects. ``released`` are the ids of released holds, ``tenant_releases`` those in the files of a
    tenant, which release its holds alone. ``recorded`` holds the names of runs whose outcome is
    pushed. ``reported`` are tasks that a daemon recorded with a reason that only its engine knows;
    for plans without an engine.
    """

    settings: PlannerConfig
    head: Commit
    desired: Mapping[ObjectRef, ResolvedObject]
    invalid: Mapping[ObjectRef, Problem]
    documents: int
    unreadable: str | None = None
    tenant_unreadable: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[ObjectRef, ObjectStatus]
    ledger: Ledger
    runs: Mapping[str, Run]
    capacity: Capacity
    released: Container[str]
    tenant_releases: Mapping[str, Mapping[str, Location]] = field(default_factory=dict)
    now: datetime
    recorded: Container[str] = frozenset()
    reported: ReportedTasks = field(default_factory=dict)


class ActionKind(enum.StrEnum):
    """An action on a task, by its name in ``plan --format json``."""

    CREATE = "create"
    CANCEL = "cancel"
    DELETE = "delete"
    KEEP = "keep"
    WAIT = "wait"
    HOLD = "hold"
    REFUSE = "refuse"

    @property
    def changes(self) -> bool:
        """True for a change in the sense of ``plan``'s exit code."""
        return self not in (ActionKind.KEEP, ActionKind.WAIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAction:
    """An action on one task of one object, and the task's state.

    ``needs`` are the keys still missing. ``spec`` is set where the run is to be created now.
    ``run`` is the live run that is kept. ``retry_at`` is when a delay is over.
    """

    ref: ObjectRef
    task: Task
    action: ActionKind
    phase: TaskPhase
    reason: Reason
    needs: tuple[TaskKey, ...] = ()
    run: Run | None = None
    spec: RunSpec | None = None
    hold: str | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDeletion:
    """The deletion of a run.

    CANCEL: it was superseded. DELETE: its object is gone. KEEP stands for neither: the run has
    ended, its outcome is known, and only the Job is cleared away.
    """

    run: Run
    action: ActionKind
    reason: Reason

    @property
    def costly(self) -> bool:
        """True if the run is live and has cost something."""
        run = self.run
        began = run.placed or run.started
        return run.live and self.action is not ActionKind.KEEP and began is not None


#: The file of which a line releases any hold.
RELEASE_FILE = ".reconciler/release"


class HoldKind(enum.StrEnum):
    """The cause of a hold."""

    GUARD = "guard"
    PRUNE = "prune"
    COST = "cost"
    BUDGET = "budget"
    RUNNING = "running"


_HELD_BY = {
    HoldKind.GUARD: ReasonCode.HELD_BY_GUARD,
    HoldKind.PRUNE: ReasonCode.HELD_BY_PRUNE,
    HoldKind.COST: ReasonCode.HELD_BY_COST,
    HoldKind.BUDGET: ReasonCode.HELD_BY_BUDGET,
    HoldKind.RUNNING: ReasonCode.HELD_BY_RUNNING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A set of actions that waits for its id in ``files``.

    ``tenant``: they are of that tenant's objects alone.
    """

    id: str
    kind: HoldKind
    objects: frozenset[ObjectRef]
    tasks: int
    gpus: int
    reason: Reason
    tenant: str | None = None
    files: tuple[str, ...] = (RELEASE_FILE,)

    @property
    def place(self) -> str:
        """The files of which a line releases it, in words."""
        return " or ".join(self.files)

    @property
    def held(self) -> Reason:
        """The reason of objects and tasks on hold: cause and id."""
        return Reason.of(_HELD_BY[self.kind], hold=self.reason, id=self.id, files=self.place)


@dataclass(frozen=True, slots=True)
class TaskActionBuilder:
    """Builder of actions on one task of one object."""

    ref: ObjectRef
    task: Task

    def keep(self, phase: TaskPhase, reason: Reason, *, run: Run | None = None) -> TaskAction:
        """Leave the task as it is; ``run`` is its live run."""
        return TaskAction(
            ref=self.ref,
            task=self.task,
            action=ActionKind.KEEP,
            phase=phase,
            reason=reason,
            run=run,
        )

    def wait(
        self,
        reason: Reason,
        *,
        phase: TaskPhase = TaskPhase.WAITING,
        retry_at: datetime | None = None,
    ) -> TaskAction:
        """Start nothing for now; at ``retry_at``, time alone may change that."""
        return TaskAction(
            ref=self.ref,
            task=self.task,
            action=ActionKind.WAIT,
            phase=phase,
            reason=reason,
            retry_at=retry_at,
        )

    def lost(self, runs: list[Run]) -> TaskAction | None:
        """Wait if one of these runs, which must end first, is unreachable."""
        for run in runs:
            if run.lost:
                cause = run.reason or Reason.of(ReasonCode.UNKNOWN)
                return self.wait(Reason.of(ReasonCode.PREVIOUS_RUN_UNREACHABLE, cause=cause))
        return None

    def hold(self, hold: Hold, *, run: Run | None = None) -> TaskAction:
        """Wait until the hold is released; ``run`` goes on until then."""
        return TaskAction(
            ref=self.ref,
            task=self.task,
            action=ActionKind.HOLD,
            phase=TaskPhase.HELD,
            reason=hold.held,
            hold=hold.id,
            run=run,
        )

    def create(
        self,
        reason: Reason,
        *,
        needs: tuple[TaskKey, ...] = (),
        phase: TaskPhase = TaskPhase.PENDING,
        run: Run | None = None,
        spec: RunSpec | None = None,
    ) -> TaskAction:
        """Create a run now (``spec``), or as soon as its needs allow."""
        return TaskAction(
            ref=self.ref,
            task=self.task,
            action=ActionKind.CREATE,
            phase=phase,
            reason=reason,
            needs=needs,
            run=run,
            spec=spec,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The objects that a plan skips, with their tasks' actions.

    ``tasks`` counts those. ``orphaned`` are the recorded objects that are not desired;
    ``losses_changed`` is the ledger's count at the time of the plan.
    """

    orphaned: frozenset[ObjectRef]
    losses_changed: int
    actions: Mapping[ObjectRef, tuple[TaskAction, ...]] = field(default_factory=dict)
    tasks: Mapping[TaskKind, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan: actions, runs to delete, removed objects, and holds.

    ``decided`` has the decisions of the objects that were looked at, upstream first; ``unchanged``
    those of all others.

    ``removed`` are recorded objects without a manifest that go now; ``kept`` those that stay,
    with the reason. ``released`` are holds that a person let pass: what they allow is recorded
    before it is done, so that a crash in the middle does not ask again. ``refused`` are the lines
    that may not release what they name.
    ``retry_at`` is the earliest moment at which time alone changes the plan.
    """

    inputs: PlanInput
    unchanged: Unchanged
    decided: Mapping[ObjectRef, tuple[TaskAction, ...]]
    endings: tuple[RunDeletion, ...]
    removed: frozenset[ObjectRef]
    kept: Mapping[ObjectRef, Reason]
    holds: tuple[Hold, ...]
    released: tuple[Hold, ...] = ()
    refused: tuple[Problem, ...] = ()
    retry_at: datetime | None = None

    @property
    def decisions(self) -> Iterator[TaskAction]:
        """The actions of all tasks, upstream first, also of unchanged objects."""
        for ref in self.inputs.desired:
            yield from self.decisions_of(ref)

    def decisions_of(self, ref: ObjectRef) -> tuple[TaskAction, ...]:
        """Return the actions of one object's tasks, if it is desired."""
        if ref not in self.inputs.desired:
            return ()
        found = self.decided.get(ref)
        return found if found is not None else self.unchanged.actions[ref]

    def task_counts(self) -> Mapping[tuple[TaskKind, TaskPhase], int]:
        """Count the tasks by kind and phase; missing entries are 0."""
        tasks = self.unchanged.tasks
        counts = Counter({(kind, TaskPhase.SUCCEEDED): n for kind, n in tasks.items()})
        for actions in self.decided.values():
            counts.update((action.task.kind, action.phase) for action in actions)
        return counts

    def compared(self) -> Iterator[tuple[ObjectRef, ResolvedObject]]:
        """Yield the objects that were looked at, upstream first."""
        return ((ref, self.inputs.desired[ref]) for ref in self.decided)

    def creates(self) -> tuple[RunSpec, ...]:
        """The runs to create now."""
        found = (decision.spec for each in self.decided.values() for decision in each)
        return tuple(spec for spec in found if spec is not None)
