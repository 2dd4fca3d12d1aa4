"""The history in an object's status: entries of ended tasks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.codec import whole_seconds
from reconciler.engine import FailureClass, Run, RunPhase
from reconciler.planner.entry_params import kept_params
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import (
    FAILED_HISTORY,
    EndingRun,
    HistoryEntry,
    TaskStatus,
    Verdict,
)
from reconciler.planner.phases import TaskPhase
from reconciler.planner.plan import RunDeletion, TaskAction
from reconciler.planner.spending import RunCost, RunPricing
from reconciler.planner.tasks import Task
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import Commit, ExecutionHash, TaskKey, TaskKind

#: The key of the desired artifact with its verdict, and whether a gate has given that.
Judged = tuple[TaskKey, Verdict, bool]
#: Growth of a run's time at which the entry for its end is renewed, and seconds beyond that.
_GROWN, _MINUTE = 1.1, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryUpdate:
    """The new entries of one object's history.

    ``tasks`` are its decided tasks with their new statuses, ``recorded`` those of before. ``ended``
    are its ended runs by name, ``image`` returns the image of a build key or digest. A run that was
    ``replaced`` while it ran is added with its cost; so is one that was recorded as ``ending``, and
    is none of ``runs`` any more. ``judged`` is the desired artifact's verdict, ``gated`` whether a
    gate will judge others. ``removed``: the object is gone.
    """

    before: tuple[HistoryEntry, ...]
    tasks: Sequence[tuple[TaskAction, TaskStatus]]
    recorded: tuple[TaskStatus, ...]
    ended: Mapping[str, Run]
    ledger: Ledger
    commit: Commit | None
    image: Callable[[str | None], str | None]
    judged: Judged | None
    gated: bool
    replaced: Sequence[RunDeletion]
    ending: tuple[EndingRun, ...]
    runs: Mapping[str, Run]
    pricing: RunPricing
    now: datetime
    removed: bool = False

    def added(self) -> list[HistoryEntry]:
        """Return the entries of tasks that have ended since.

        A key is added once when it is complete, again when it was lost and made anew, and once for
        each execution hash under which it failed. So is each interrupted run.
        """
        added = [*self._replaced(), *self._gone(), *self._earlier(), *self._suspended()]
        for action, record in self.tasks:
            added += self._interrupted(action, record)
            added += self._outcome(action, record)
        return added

    def _outcome(self, action: TaskAction, record: TaskStatus) -> Iterator[HistoryEntry]:
        """Yield the entry of a task that is complete or failed."""
        task, ledger = action.task, self.ledger
        known = {
            (e.key, e.execution_hash if e.phase is TaskPhase.FAILED else None)
            for e in self.before
            if e.phase is not TaskPhase.INTERRUPTED and not _is_lost(e, ledger)
        }
        done = ledger.result(task.key)
        if task.key is None:
            return
        if action.phase is TaskPhase.SUCCEEDED and done is not None:
            if (task.key, None) not in known:
                run = self._run_of(task.key)
                entry = HistoryEntry(
                    task=task.kind,
                    for_evaluation=task.for_evaluation,
                    key=task.key,
                    phase=TaskPhase.SUCCEEDED,
                    commit=self.commit,
                    finished=record.finished or whole_seconds(done.finished),
                    params=kept_params(task.params),
                    metrics=done.result.metrics,
                    warnings=done.result.warnings,
                    gpu_seconds=done.result.gpu_seconds,
                    artifact=done.result.url,
                    image=done.result.image or self.image(task.image_key),
                    image_key=task.image_key,
                    verdict=self._verdict(task.kind, task.key),
                )
                yield self._priced(entry, run, task)
        elif action.phase is TaskPhase.FAILED and (task.key, task.execution_hash) not in known:
            run = self._run_of(task.key, task.execution_hash)
            entry = HistoryEntry(
                task=task.kind,
                for_evaluation=task.for_evaluation,
                key=task.key,
                phase=TaskPhase.FAILED,
                execution_hash=task.execution_hash,
                commit=self.commit,
                finished=record.finished,
                params=kept_params(task.params),
                reason=action.reason.code.value,
                message=message(action.reason),
            )
            yield self._priced(entry, run, task)

    def _interrupted(self, action: TaskAction, record: TaskStatus) -> Iterator[HistoryEntry]:
        """Yield an entry if a run was just interrupted."""
        task = action.task
        failure = self.ledger.failure(task.key, task.execution_hash) if task.key else None
        if failure is None or failure.kind is not FailureClass.INFRASTRUCTURE or failure.remembered:
            return
        if any(e.key == failure.key and e.finished == failure.at for e in self.before):
            return
        entry = HistoryEntry(
            task=task.kind,
            for_evaluation=task.for_evaluation,
            key=failure.key,
            phase=TaskPhase.INTERRUPTED,
            execution_hash=task.execution_hash,
            commit=self.commit,
            started=record.started,
            finished=failure.at,
            reason=failure.reason.code.value,
            message=message(failure.reason),
        )
        run = self._run_of(failure.key, failure.execution_hash)
        if run is not None or record.started is None:
            yield self._priced(entry, run, task)
        else:
            cost = self.pricing.between(record.started, failure.at, task.resources)
            yield _with_cost(entry, cost)

    def ending_runs(
        self, asked: Iterable[RunDeletion], current: Container[str | None] = ()
    ) -> tuple[EndingRun, ...]:
        """Return the runs to record as ending.

        ``asked`` are those that are not ended yet, ``current`` the jobs of the tasks now: what is
        wanted again is recorded no more, unless it is being deleted.
        """
        ended = self._ended_now()
        known = {each.job: each for each in self.ending}
        found: dict[str, EndingRun] = {}
        for job, each in known.items():
            run = self.runs.get(job)
            goes_on = run is not None and run.live and job not in ended
            if run is not None and goes_on and (run.deleting or job not in current):
                found[job] = each
        for deletion in asked:
            run, entry = deletion.run, self._entry_of(deletion)
            if run.live and (entry.started is None or not self._has(entry)):
                resources = self.pricing.resources(run, self._asked(run))
                new = EndingRun(job=run.name, resources=resources, entry=entry)
                before = known.get(run.name)
                found[run.name] = new if before is None or _is_outdated(before, new) else before
        return tuple(found.values())

    def _ended_now(self) -> set[str]:
        """Return the names of the runs that are ended now."""
        return {deletion.run.name for deletion in self.replaced}

    def _replaced(self) -> Iterator[HistoryEntry]:
        """Yield entries of runs that are ended now, and have cost something."""
        for deletion in self.replaced:
            if deletion.costly and not self._has(entry := self._entry_of(deletion)):
                yield entry

    def _gone(self) -> Iterator[HistoryEntry]:
        """Yield entries of runs whose end was recorded in advance alone.

        Of a removed object nothing is known later, so those that are still deleted count as gone.
        """
        ended = self._ended_now()
        for each in self.ending:
            run = self.runs.get(each.job)
            gone = run is None or (self.removed and run.live)
            if gone and each.job not in ended and not self._has(each.entry):
                yield each.entry

    def _has(self, entry: HistoryEntry) -> bool:
        """Return whether an entry cost nothing, or the history has it."""
        return entry.started is None or any(
            (e.key, e.started) == (entry.key, entry.started)
            for e in self.before
            if e.phase is TaskPhase.INTERRUPTED
        )

    def _entry_of(self, deletion: RunDeletion) -> HistoryEntry:
        """Return the entry of a run that is ended now.

        Without ``started`` it has cost nothing.
        """
        run, began = deletion.run, deletion.run.placed or deletion.run.started
        end = whole_seconds(self.now)
        entry = self._interruption(run, deletion.reason, began=whole_seconds(began), end=end)
        if began is None:
            return entry
        return _with_cost(entry, self.pricing.of(run, self._asked(run), until=self.now))

    def _asked(self, run: Run) -> Task | None:
        """Return the task of now of a run's kind."""
        return next((a.task for a, _ in self.tasks if a.task.kind is run.task), None)

    def _suspended(self) -> Iterator[HistoryEntry]:
        """Yield entries of runs that had started, and were queued again."""
        started = {r.job: r.started for r in self.recorded if r.job and r.started is not None}
        for action, _ in self.tasks:
            run = action.run
            if run is None or run.suspended is None:
                continue
            began = started.get(run.name)
            if began is not None:
                by = run.reason.arguments.get("cause") if run.reason is not None else None
                cause = f": {by}" if isinstance(by, str) else ""
                reason = Reason.of(ReasonCode.RUN_SUSPENDED, cause=cause)
                end = max(began, whole_seconds(run.suspended))
                cost = self.pricing.of(run, action.task, began=began, until=run.suspended)
                yield _with_cost(self._interruption(run, reason, began=began, end=end), cost)

    def _interruption(
        self, run: Run, reason: Reason, *, began: datetime | None, end: datetime
    ) -> HistoryEntry:
        """Return the entry of a run whose command was interrupted."""
        return HistoryEntry(
            task=run.task,
            for_evaluation=self._known_runs().get(run.name, False),
            key=run.key,
            phase=TaskPhase.INTERRUPTED,
            execution_hash=run.execution_hash,
            commit=self.commit,
            started=began,
            finished=end,
            reason=reason.code.value,
            message=message(reason),
        )

    def _known_runs(self) -> Mapping[str, bool]:
        """Map recorded runs to whether each builds an evaluation's source."""
        ending = {each.job: each.entry.for_evaluation for each in self.ending}
        recorded = {r.job: r.for_evaluation for r in self.recorded if r.job is not None}
        return ending | recorded

    def _earlier(self) -> Iterator[HistoryEntry]:
        """Yield the entries of recorded runs that are no task's any more.

        A run of an earlier key went on to its end, or another execution hash came as it ended.
        """
        keys = {action.task.key for action, _ in self.tasks}
        asked = {(action.task.key, action.task.execution_hash) for action, _ in self.tasks}
        for job, for_evaluation in self._known_runs().items():
            run = self.ended.get(job)
            if run is None or run.finished is None or (run.key, run.execution_hash) in asked:
                continue
            if run.phase is RunPhase.SUCCEEDED and run.key in keys:
                continue
            finished = whole_seconds(run.finished)
            if any(e.key == run.key and e.finished == finished for e in self.before):
                continue
            done = self.ledger.result(run.key)
            complete = run.phase is RunPhase.SUCCEEDED and done is not None
            entry = HistoryEntry(
                task=run.task,
                for_evaluation=for_evaluation,
                key=run.key,
                phase=TaskPhase.SUCCEEDED if complete else _ended_as(run),
                execution_hash=None if complete else run.execution_hash,
                commit=self.commit,
                started=whole_seconds(run.started),
                finished=finished,
                metrics=done.result.metrics if complete and done else {},
                warnings=done.result.warnings if complete and done else (),
                artifact=done.result.url if complete and done else None,
                verdict=self._verdict(run.task, run.key) if complete else None,
                reason=run.reason.code.value if run.reason and not complete else "",
                message=message(run.reason) if run.reason and not complete else "",
            )
            yield self._priced(entry, run, None)

    def _verdict(self, task: TaskKind, key: TaskKey) -> Verdict | None:
        """Return a gate's verdict on the artifact of a new entry.

        That of another training than the desired one, of a sweep say, is still to be given.
        """
        if self.judged is not None and key == self.judged[0]:
            return self.judged[1] if self.judged[2] else None
        return Verdict.PENDING if self.gated and task is TaskKind.TRAIN else None

    def _run_of(self, key: TaskKey, execution_hash: ExecutionHash | None = None) -> Run | None:
        """Return the ended run of a key.

        It is the successful one, or that of an execution hash.
        """
        for run in self.ended.values():
            good = run.phase is RunPhase.SUCCEEDED
            wanted = good is (execution_hash is None)
            if run.key == key and wanted and execution_hash in (None, run.execution_hash):
                return run
        return None

    def _priced(self, entry: HistoryEntry, run: Run | None, asked: Task | None) -> HistoryEntry:
        """Add a run's cost, but for the part that was counted before.

        An entry of its interruption has that where its object was removed, and came back to it.
        """
        if run is None or run.finished is None:
            return entry
        cost = self.pricing.of(run, asked, until=run.finished)
        began = whole_seconds(run.placed or run.started)
        for e in self.before:
            interrupted = e.phase is TaskPhase.INTERRUPTED and began is not None
            if interrupted and (e.key, e.started) == (run.key, began):
                cost = cost.without(e)
        return _with_cost(entry, cost)


def _is_outdated(known: EndingRun, new: EndingRun) -> bool:
    """Return whether a run has cost much more since.

    It is still being ended, and each renewal of its entry is a push.
    """
    return known.entry.started is None or new.entry.seconds > _GROWN * known.entry.seconds + _MINUTE


def extended(
    before: Iterable[HistoryEntry],
    added: Iterable[HistoryEntry],
    ledger: Ledger,
    judged: Judged | None,
) -> tuple[HistoryEntry, ...]:
    """Add entries to a history; of those that made nothing keep FAILED_HISTORY."""
    return _bounded([*(_judged(_marked(entry, ledger), judged) for entry in before), *added])


def _judged(entry: HistoryEntry, judged: Judged | None) -> HistoryEntry:
    """Renew the verdict on an artifact that was made for a gate."""
    if judged is None or entry.key != judged[0] or entry.verdict in (None, judged[1]):
        return entry
    return replace(entry, verdict=judged[1])


def _ended_as(run: Run) -> TaskPhase:
    failed = run.failure is FailureClass.COMMAND
    return TaskPhase.FAILED if failed else TaskPhase.INTERRUPTED


def _with_cost(entry: HistoryEntry, cost: RunCost) -> HistoryEntry:
    if not cost.known:
        return entry
    return replace(
        entry,
        seconds=cost.seconds,
        instant=not cost.seconds,
        gpu_seconds=cost.gpu_seconds or entry.gpu_seconds,
        cost=cost.cost,
    )


def _is_lost(entry: HistoryEntry, ledger: Ledger) -> bool:
    return _marked(entry, ledger).gone


def _marked(entry: HistoryEntry, ledger: Ledger) -> HistoryEntry:
    """Mark an entry with the time of its loss, if any."""
    if entry.phase is not TaskPhase.SUCCEEDED or entry.gone:
        return entry
    loss = ledger.losses.get(entry.key)
    return replace(entry, lost=loss.at) if loss is not None else entry


def _bounded(history: list[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    failed = [entry for entry in history if entry.phase is not TaskPhase.SUCCEEDED]
    dropped = {id(entry) for entry in failed[:-FAILED_HISTORY]}
    return tuple(entry for entry in history if id(entry) not in dropped)
