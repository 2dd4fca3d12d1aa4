"""The ledger: complete keys, and failures by key and execution hash.

It is rebuilt at start from the records in Git, then from the runs the engine still has, and
learns from every run that ends. Learning the same thing twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from reconciler.codec import whole_seconds
from reconciler.engine import FailureClass, Result, Run, RunPhase
from reconciler.planner.identical import differing
from reconciler.planner.object_status import HistoryEntry, ObjectStatus
from reconciler.planner.phases import TaskPhase
from reconciler.planner.retry_policy import CLOCK_SKEW, Failure
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ExecutionHash, ObjectRef, TaskKey, TaskKind

#: Ids of released holds that are remembered.
MOST_RELEASES = 1_000
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_AGES = timedelta(days=100_000)
_SUCCEEDED = TaskPhase.SUCCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A complete task: its first result, last end, and image's key.

    ``turn`` is the ledger's when it was last learnt to be there; 0 if only by what was read, or by
    a run that an engine had at a start.
    """

    key: TaskKey
    task: TaskKind
    result: Result
    finished: datetime | None = None
    image_key: str | None = None
    turn: int = field(default=0, compare=False)

    def before(self, failure: Failure) -> bool:
        """Return whether the task was complete before a failed run began.

        A run says of what it reads how it was at its start, and may be heard of late: from a node
        that was silent, or by the next leader. Times are compared only where both were read: a
        clock may have been set between two turns.
        """
        if self.turn or failure.turn:
            return self.turn <= failure.turn
        return self.finished is None or whole_seconds(self.finished) <= whole_seconds(failure.began)


@dataclass(frozen=True, slots=True)
class Loss:
    """A lost result: its URL, its end, the time of its discovery."""

    at: datetime
    url: str
    finished: datetime | None = None


@dataclass(slots=True)
class Ledger:
    """Key → result or loss, and (key, execution hash) → failure.

    ``losses_changed`` counts the changes of ``losses`` and ``restoring``. ``hidden`` has the keys
    whose markers a collection has hidden, to be restored before they are used; ``restoring`` those
    of them that are being restored, which are not complete and are not made again, and
    ``obstacles`` why some are not yet; ``collected`` those that it has removed. ``releases`` are
    the ids of holds that were released, the oldest first; each releases once. ``removed_spent`` is
    what objects that are gone have spent, by month. ``turn`` counts what was learnt in this
    process, in that order, which no clock can change.
    """

    completed: dict[TaskKey, Completed] = field(default_factory=dict)
    failures: dict[tuple[TaskKey, ExecutionHash], Failure] = field(default_factory=dict)
    losses: dict[TaskKey, Loss] = field(default_factory=dict)
    hidden: dict[TaskKey, datetime] = field(default_factory=dict)
    restoring: dict[TaskKey, Completed] = field(default_factory=dict)
    obstacles: dict[TaskKey, Reason] = field(default_factory=dict)
    collected: dict[TaskKey, Loss] = field(default_factory=dict)
    losses_changed: int = 0
    releases: tuple[str, ...] = ()
    removed_spent: dict[ObjectRef, Mapping[str, float]] = field(default_factory=dict)
    turn: int = 0
    _learnt: Mapping[str, Run] | None = None
    #: The turn in which a run was first seen.
    _seen: dict[str, int] = field(default_factory=dict)

    def use_releases(self, ids: Iterable[str]) -> None:
        """Note holds that are released now, or were before."""
        known = dict.fromkeys((*self.releases, *ids))
        self.releases = tuple(known)[-MOST_RELEASES:]

    def copy(self) -> Ledger:
        """Return a ledger that learns apart from this one."""
        return replace(
            self,
            completed=dict(self.completed),
            failures=dict(self.failures),
            losses=dict(self.losses),
            hidden=dict(self.hidden),
            restoring=dict(self.restoring),
            obstacles=dict(self.obstacles),
            collected=dict(self.collected),
            removed_spent=dict(self.removed_spent),
            _seen=dict(self._seen),
        )

    def learn_record(self, record: ObjectStatus) -> None:
        """Take over what a status file says."""
        for entry in record.history:
            self._learn_entry(entry)
        for task in record.tasks:
            if task.phase is TaskPhase.FAILED or task.failures:
                if task.key is None or task.execution_hash is None:
                    continue
                self.failures[task.key, task.execution_hash] = Failure(
                    key=task.key,
                    execution_hash=task.execution_hash,
                    kind=task.failure or FailureClass.COMMAND,
                    reason=Reason.read(task.reason, task.message),
                    at=task.finished or _LONG_AGO,
                    began=task.started or task.finished or _LONG_AGO,
                    count=task.failures,
                )

    def _learn_entry(self, entry: HistoryEntry) -> None:
        build = entry.task is TaskKind.BUILD
        if (entry.image if build else entry.artifact) is None and entry.phase is _SUCCEEDED:
            return  # a result that is nowhere
        if entry.collected is not None and entry.phase is _SUCCEEDED:
            if entry.key not in self.completed:
                url = entry.artifact or ""
                self.collected[entry.key] = Loss(entry.collected, url, entry.finished)
        elif entry.lost is not None:
            if entry.key not in self.completed:
                url = entry.artifact or entry.image or ""
                self.losses[entry.key] = Loss(entry.lost, url, entry.finished)
        elif entry.phase is _SUCCEEDED:
            result = Result(
                image=entry.image if build else None,
                url=None if build else entry.artifact,
                metrics=entry.metrics,
                gpu_seconds=max(0.0, entry.gpu_seconds),
                warnings=entry.warnings,
            )
            self._complete(
                Completed(
                    key=entry.key,
                    task=entry.task,
                    result=result,
                    finished=entry.finished,
                    image_key=entry.image_key,
                )
            )
            self.hidden.pop(entry.key, None)
            if entry.hidden is not None:
                self.hidden[entry.key] = entry.hidden
        elif entry.phase is TaskPhase.FAILED and entry.execution_hash is not None:
            self.failures.setdefault(
                (entry.key, entry.execution_hash),
                Failure(
                    key=entry.key,
                    execution_hash=entry.execution_hash,
                    kind=FailureClass.COMMAND,
                    reason=Reason.read(entry.reason, entry.message),
                    at=entry.finished or _LONG_AGO,
                    began=entry.started or entry.finished or _LONG_AGO,
                ),
            )

    def complete(
        self,
        key: TaskKey,
        task: TaskKind,
        result: Result,
        *,
        finished: datetime | None = None,
        image_key: str | None = None,
    ) -> None:
        """Record a key as complete from now on.

        The first result stays, so that URLs never move; the last end counts.
        """
        self._complete(
            Completed(
                key=key,
                task=task,
                result=result,
                finished=finished,
                image_key=image_key,
                turn=self._next_turn(),
            )
        )

    def _complete(self, found: Completed) -> None:
        self.collected.pop(found.key, None)
        self.restoring.pop(found.key, None)
        self.obstacles.pop(found.key, None)
        if self.losses.pop(found.key, None) is not None:
            self.losses_changed += 1
        known = self.completed.get(found.key)
        if known is None or known.task is not found.task:
            self.completed[found.key] = found
        else:
            self.completed[found.key] = replace(
                known,
                image_key=known.image_key or found.image_key,
                finished=max(filter(None, (known.finished, found.finished)), default=None),
                turn=max(known.turn, found.turn),
            )

    def _next_turn(self) -> int:
        self.turn += 1
        return self.turn

    def learn_image_keys(self, status: ObjectStatus) -> None:
        """Take over the images of complete keys from an object's status.

        A run does not say which key its image has; the plan does, and the status that is made of
        it. Keys that are not complete here stay so: the history of a status also has keys whose
        results were lost later.
        """
        for entry in status.history:
            known = self.completed.get(entry.key)
            if known is not None and known.image_key is None and entry.image_key is not None:
                self.completed[entry.key] = replace(known, image_key=entry.image_key)

    def lose(self, key: TaskKey, at: datetime) -> None:
        """Note that a complete key's result is gone.

        It is made again where something needs it. Runs that have been learnt do not make the key
        complete again.
        """
        self.hidden.pop(key, None)
        known = self.completed.pop(key, None)
        if known is not None:
            url = known.result.url or known.result.image or ""
            self.losses[key] = Loss(whole_seconds(at), url, known.finished)
            self.losses_changed += 1

    def withdraw(self, key: TaskKey) -> None:
        """Note that a hidden key's artifact is being restored."""
        known = self.completed.pop(key, None)
        if known is not None:
            self.restoring[key] = known
            self.losses_changed += 1

    def obstruct(self, key: TaskKey, cause: Reason) -> bool:
        """Note the obstacle of a restore; return whether it is new."""
        new = key in self.restoring and self.obstacles.get(key) != cause
        if new:
            self.obstacles[key] = cause
            self.losses_changed += 1
        return new

    def restoring_reason(self, key: TaskKey) -> Reason:
        """Return the reason of what waits for an artifact's restore."""
        cause = self.obstacles.get(key)
        if cause is None:
            return Reason.of(ReasonCode.ARTIFACT_HIDDEN, key=key[:12])
        return Reason.of(ReasonCode.ARTIFACT_NOT_RESTORED, key=key[:12], cause=cause)

    def restore(self, key: TaskKey) -> None:
        """Note that a hidden key's artifact is there again."""
        self.hidden.pop(key, None)
        self.obstacles.pop(key, None)
        known = self.restoring.pop(key, None)
        if known is not None:
            self.completed[key] = replace(known, turn=self._next_turn())
            self.losses_changed += 1

    def collect(self, key: TaskKey, at: datetime) -> None:
        """Note that a collection has removed a complete key's artifact.

        It is made again where something needs it.
        """
        self.hidden.pop(key, None)
        self.obstacles.pop(key, None)
        known = self.completed.pop(key, None) or self.restoring.pop(key, None)
        if known is not None:
            self.collected[key] = Loss(at, known.result.url or "", known.finished)

    def learn_runs(self, runs: Mapping[str, Run]) -> None:
        """Learn the runs that differ from those of the last time."""
        before, self._learnt = self._learnt, dict(runs)
        known = before or {}
        different = differing(known, runs)
        self._see({name: runs[name] for name in different & runs.keys()}, known)
        for name in different:
            if name not in runs:
                del self._seen[name]
            elif name not in known or _end(known[name]) != _end(runs[name]):
                self.learn_run(runs[name], news=before is not None)
        if before is None:
            self._next_turn()

    def _see(self, runs: Mapping[str, Run], known: Mapping[str, Run]) -> None:
        """Note the turn of new runs, before anything is learnt."""
        for name, run in runs.items():
            if name not in known or known[name].created != run.created:
                self._seen[name] = self.turn

    def learn_run(self, run: Run, *, news: bool = True) -> None:
        """Take over how a run ended; a live run says nothing yet.

        Without ``news`` the run may have ended at any time, as at a start: then its times say
        whether it ended before a loss, or before the known failure.
        """
        if run.phase is RunPhase.SUCCEEDED and run.result is not None:
            gone = self.losses.get(run.key) or self.collected.get(run.key)
            if not news and _ended_before(run, gone):
                return
            turn = self._next_turn() if news else 0
            self._complete(
                Completed(
                    key=run.key,
                    task=run.task,
                    result=run.result,
                    finished=run.finished,
                    turn=turn,
                )
            )
            self.failures.pop((run.key, run.execution_hash), None)
        elif run.phase is RunPhase.FAILED and not run.deleting:
            self._learn_failure(run, news=news)

    def _learn_failure(self, run: Run, *, news: bool) -> None:
        kind = run.failure or FailureClass.INFRASTRUCTURE
        # Status files keep whole seconds: the same failure must look the same after a restart.
        at = whole_seconds(run.finished or _LONG_AGO)
        known = self.failures.get((run.key, run.execution_hash))
        # A run that fails long before the last failure does so by a clock that has been set back.
        set_back = news and run.finished is not None
        if known is not None and known.at >= at >= known.at - (CLOCK_SKEW if set_back else _AGES):
            return
        count, tries = (known.count, known.tries) if known else (0, 0)
        self.failures[run.key, run.execution_hash] = Failure(
            key=run.key,
            execution_hash=run.execution_hash,
            kind=kind,
            reason=run.reason or Reason.of(ReasonCode.UNKNOWN),
            at=at,
            began=run.created or run.started or at,
            count=count + 1 if kind is FailureClass.INFRASTRUCTURE else count,
            tries=tries + 1 if kind is FailureClass.UNAVAILABLE else 0,
            turn=self._seen.get(run.name, self.turn) if news else 0,
        )

    def result(self, key: TaskKey | None) -> Completed | None:
        """Return the result of a key if it is complete."""
        return self.completed.get(key) if key is not None else None

    def has(self, key: TaskKey, task: TaskKind) -> bool:
        """Return whether a key is complete, by a task of this kind.

        A key is of one kind of task, whatever a status file says.
        """
        complete = self.completed.get(key)
        return complete is not None and complete.task is task

    def failure(self, key: TaskKey, execution_hash: ExecutionHash) -> Failure | None:
        """Return the failure of a key under this execution hash, if any."""
        return self.failures.get((key, execution_hash))


def _end(run: Run) -> tuple[object, ...]:
    """Return the end of a run.

    It is learnt once, as the result may have been lost since.
    """
    return run.phase, run.finished, run.result


def _ended_before(run: Run, loss: Loss | None) -> bool:
    """Return true for the run whose result is lost, and earlier ones."""
    if loss is None:
        return False
    finished = whole_seconds(run.finished or _LONG_AGO)
    made = loss.finished is not None and finished == whole_seconds(loss.finished)
    return made or finished <= loss.at
