"""Holds by cost, by budget, and by lost running work. Pure.

Each is computed from the manifests and from what is recorded, as those of
:mod:`reconciler.planner.holds`. What is unknown counts as nothing until it has run: so a budget is
never exceeded by more than what ran already when it was reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.codec import whole_seconds
from reconciler.engine import Run
from reconciler.manifests import Tenant
from reconciler.planner.forecast import Forecaster
from reconciler.planner.holds import Releases, accepted_tasks, release_files, tenant_action
from reconciler.planner.live_runs import LiveRuns
from reconciler.planner.names import hold_id
from reconciler.planner.object_status import EndingRun, ObjectStatus, TaskStatus
from reconciler.planner.phases import TaskPhase
from reconciler.planner.plan import Hold, HoldKind, PlanInput
from reconciler.planner.prices import HOUR
from reconciler.planner.prune import deletions
from reconciler.planner.spending import RunPricing, month_of
from reconciler.planner.superseding import cancellations
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.reasons import SILENT_RUNS, WITHOUT_RUN, Reason, ReasonCode
from reconciler.types import ObjectRef, Resources, TaskKey

Objects = Mapping[ObjectRef, ResolvedObject]
#: Tasks by namespace and key, each with its object.
_Tasks = dict[tuple[str, TaskKey], tuple[ObjectRef, Task]]


@dataclass(frozen=True, slots=True)
class CostHolds:
    """The holds of one plan that are about money."""

    inputs: PlanInput
    objects: Objects
    wanted: frozenset[TaskKey]
    releases: Releases

    def all(self) -> Iterator[tuple[Hold, bool]]:
        """Yield the holds, each with whether it is released."""
        settings = self.inputs.settings
        yield from self._held(lambda t: t.guard_cost, settings.guard_cost, self._cost)
        yield from self._held(lambda t: t.budget_month, settings.budget_month, self._budget)

    def _held(
        self,
        limit_of: Callable[[Tenant], float],
        limit: float,
        make: Callable[[Objects, float, Tenant | None], Hold | None],
    ) -> Iterator[tuple[Hold, bool]]:
        """Yield the hold of each tenant, then that over all others' objects."""
        tenants, rest = self.inputs.settings.tenants, dict(self.objects)
        for tenant in tenants.members:
            if limit_of(tenant):
                own = {r: o for r, o in rest.items() if tenants.name_of(r.namespace) == tenant.name}
                hold = make(own, limit_of(tenant), tenant)
                if hold is not None:
                    hold, released = self.releases.settle(hold)
                    yield hold, released
                    if not released:
                        rest = {r: o for r, o in rest.items() if r not in hold.objects}
        hold = make(rest, limit, None) if limit else None
        if hold is not None:
            yield self.releases.settle(hold)

    def _cost(self, objects: Objects, limit: float, tenant: Tenant | None) -> Hold | None:
        """Return a hold of new tasks that would exceed the limit."""

        def passes(record: ObjectStatus, task: Task) -> bool:
            return (task.key, task.execution_hash) in accepted_tasks(record)

        tasks, refs = self._tasks(objects, passes)
        cost, unknown = self._forecast(tasks)
        if cost <= limit:
            return None
        prices = self.inputs.settings.prices
        reason = Reason.of(
            ReasonCode.COST_TOO_HIGH,
            tasks=len(tasks),
            cost=prices.shown(cost),
            unknown=unknown,
            guard=f"guard of tenant {tenant.name}" if tenant is not None else "guard",
            limit=prices.shown(limit),
        )
        return _hold(HoldKind.COST, tasks, refs, reason, tenant)

    def _budget(self, objects: Objects, limit: float, tenant: Tenant | None) -> Hold | None:
        """Return a hold of unstarted tasks beyond a month's budget."""

        def passes(record: ObjectStatus, task: Task) -> bool:
            known = next((t for t in record.tasks if t.key == task.key), None)
            if known is None:
                return False
            same = known.execution_hash == task.execution_hash
            return (same and known.released is not None) or self._goes_on(known)

        tasks, refs = self._tasks(objects, passes)
        if not tasks:
            return None
        spent, running = self._spent(tenant), self._running(tenant)
        cost, unknown = self._forecast(tasks)
        if spent + running < limit and spent + running + cost <= limit:
            return None
        prices = self.inputs.settings.prices
        reason = Reason.of(
            ReasonCode.BUDGET_EXCEEDED,
            tasks=len(tasks),
            cost=prices.shown(cost),
            unknown=unknown,
            spent=prices.shown(spent),
            running=prices.shown(running),
            month=month_of(self.inputs.now),
            budget=f"budget of tenant {tenant.name}" if tenant is not None else "budget",
            limit=prices.shown(limit),
        )
        return _hold(HoldKind.BUDGET, tasks, refs, reason, tenant)

    def _goes_on(self, task: TaskStatus) -> bool:
        """Return whether a recorded run of a task's key goes on.

        One of an earlier key starts nothing for the task: the task is held with all others, so that
        the hold has one id before, while and after that run goes on.
        """
        if task.run_key is not None or not is_started(task):
            return False
        run = self.inputs.runs.get(task.job) if task.job is not None else None
        return run is None or run.live

    def _tasks(
        self, objects: Objects, passes: Callable[[ObjectStatus, Task], bool]
    ) -> tuple[_Tasks, frozenset[ObjectRef]]:
        """Return the tasks that would run, and their objects.

        Those that pass are left out.
        """
        tasks: _Tasks = {}
        refs = set()
        for ref, item in objects.items():
            record = self.inputs.records.get(ref)
            for task in item.tasks if not item.manifest.document.spec.suspend else ():
                if task.key is None or task.key not in self.wanted:
                    continue
                failure = self.inputs.ledger.failure(task.key, task.execution_hash)
                if failure is not None and failure.remembered:
                    continue
                if record is None or not passes(record, task):
                    tasks.setdefault((ref.namespace, task.key), (ref, task))
                    refs.add(ref)
        return tasks, frozenset(refs)

    def _forecast(self, tasks: _Tasks) -> tuple[float, int]:
        """Return the cost of the forecast tasks, and the others' number."""
        inputs = self.inputs
        forecaster = Forecaster(inputs.records, inputs.desired, inputs.settings.prices)
        costs = [forecaster.of(ref, task).cost for ref, task in tasks.values()]
        known = [cost.p50 for cost in costs if cost is not None]
        return sum(known), len(costs) - len(known)

    def _of(self, tenant: Tenant | None, refs: Iterable[ObjectRef]) -> Iterator[ObjectRef]:
        tenants = self.inputs.settings.tenants
        for ref in refs:
            if tenant is None or tenants.name_of(ref.namespace) == tenant.name:
                yield ref

    def _spent(self, tenant: Tenant | None) -> float:
        """Return what all runs have cost that ended in this month."""
        inputs, month = self.inputs, month_of(self.inputs.now)
        records = (inputs.records[ref].spent for ref in self._of(tenant, inputs.records))
        gone = inputs.ledger.removed_spent
        removed = (gone[ref] for ref in self._of(tenant, gone) if ref not in inputs.records)
        return sum(spent.get(month, 0.0) for each in (records, removed) for spent in each)

    def _running(self, tenant: Tenant | None) -> float:
        """Return the cost of the recorded runs.

        Of one that goes on it is the cost so far or, if that is more, its forecast.
        """
        inputs, prices = self.inputs, self.inputs.settings.prices
        forecaster = Forecaster(inputs.records, inputs.desired, prices)
        total, seen = 0.0, set[str]()
        for ref in self._of(tenant, inputs.records):
            for known in inputs.records[ref].tasks:
                if (
                    not self._costs(known, inputs.records[ref])
                    or known.job is None
                    or known.job in seen
                ):
                    continue
                seen.add(known.job)
                cost = prices.cost(known.resources or Resources(), self._elapsed(known))
                item = inputs.desired.get(ref)
                for task in item.tasks if item is not None else ():
                    if task.key == known.key and (f := forecaster.of(ref, task).cost) is not None:
                        cost = max(cost, f.p50)
                total += cost
            for ending in inputs.records[ref].ending:
                if ending.job not in seen:
                    seen.add(ending.job)
                    total += self._cost_of_ending(ending)
        return total

    def _cost_of_ending(self, ending: EndingRun) -> float:
        """Return the cost so far of a run that is being ended."""
        run, now = self.inputs.runs.get(ending.job), self.inputs.now
        if run is None:
            return ending.entry.cost
        began = run.placed or run.started or ending.entry.started or now
        seconds = max(0.0, ((run.finished or now) - began).total_seconds())
        return self.inputs.settings.prices.cost(ending.resources or Resources(), seconds)

    def _costs(self, task: TaskStatus, record: ObjectStatus) -> bool:
        """Return whether a recorded run counts as running.

        One of an earlier key that is gone, or whose end is recorded, costs nothing more: its task
        may be held for long.
        """
        if not is_started(task) or task.run_key is None:
            return is_started(task)
        run = self.inputs.runs.get(task.job or "")
        if run is None or run.finished is None:
            return run is not None
        end = whole_seconds(run.finished)
        return all((e.key, e.finished) != (run.key, end) for e in record.history)

    def _elapsed(self, task: TaskStatus) -> float:
        """Return the seconds that a recorded run has taken.

        It may have started, and ended, since it was recorded: while no daemon ran, for one.
        """
        now, run = self.inputs.now, self.inputs.runs.get(task.job or "")
        began = (run.placed or run.started if run is not None else None) or task.started or now
        ended = run.finished if run is not None and run.finished is not None else now
        return max(0.0, (ended - began).total_seconds())


def is_started(task: TaskStatus) -> bool:
    """Return whether a task is recorded with a live run."""
    if task.run_key is not None and task.phase is TaskPhase.HELD:
        return True
    if task.job is None:
        return False
    if task.phase is TaskPhase.WAITING:
        earlier = task.run_key is not None and task.reason == ReasonCode.PREVIOUS_RUN_UNREACHABLE
        return earlier or task.reason in SILENT_RUNS
    live = task.phase in (TaskPhase.RUNNING, TaskPhase.PENDING)
    return live and task.reason not in WITHOUT_RUN_BUT_EARLIER


#: Reasons of a task that has a job, which is no run of its own, nor an earlier one that goes on.
WITHOUT_RUN_BUT_EARLIER = WITHOUT_RUN - {ReasonCode.EARLIER_RUN_GOES_ON}


def _hold(
    kind: HoldKind,
    tasks: _Tasks,
    refs: frozenset[ObjectRef],
    reason: Reason,
    tenant: Tenant | None,
) -> Hold:
    actions = [
        f"{kind.value} {namespace} {key} {task.execution_hash}"
        for (namespace, key), (_, task) in tasks.items()
    ]
    return Hold(
        id=hold_id([*actions, *tenant_action(tenant)]),
        kind=kind,
        objects=refs,
        tasks=len(tasks),
        gpus=sum(task.resources.gpus for _, task in tasks.values()),
        reason=reason,
        tenant=tenant.name if tenant is not None else None,
        files=release_files(tenant),
    )


def running_holds(
    inputs: PlanInput,
    objects: Objects,
    live: LiveRuns,
    removed: frozenset[ObjectRef],
    releases: Releases,
) -> Iterator[tuple[Hold, bool]]:
    """Yield a hold of each tenant's costly runs that would be cancelled."""
    settings = inputs.settings
    if not settings.guard_running_gpu_hours and not settings.guard_running_seconds:
        return
    lost: defaultdict[Tenant | None, list[tuple[Run, Resources]]] = defaultdict(list)
    tenants = settings.tenants
    for run, task in _cancelled(inputs, objects, live, removed):
        if run.object is not None and (run.placed or run.started) is not None:
            record = inputs.records.get(run.object)
            pricing = RunPricing(settings.prices, record.tasks if record is not None else ())
            tenant = tenants.of_namespace(run.object.namespace) if tenants else None
            lost[tenant].append((run, pricing.resources(run, task)))
    for tenant, runs in lost.items():
        hold = _running_hold(inputs, runs, tenant)
        if hold is not None:
            yield releases.settle(hold)


def _cancelled(
    inputs: PlanInput, objects: Objects, live: LiveRuns, removed: frozenset[ObjectRef]
) -> Iterator[tuple[Run, Task | None]]:
    for ref, item in objects.items():
        for task in item.tasks:
            for end in cancellations(live.superseded_by(ref, task), task, inputs):
                yield end.run, task
    for end in deletions(inputs, removed):
        if end.run.live:
            yield end.run, None


def _running_hold(
    inputs: PlanInput, runs: list[tuple[Run, Resources]], tenant: Tenant | None
) -> Hold | None:
    settings, now = inputs.settings, inputs.now
    seconds, gpu_seconds, cost = 0.0, 0.0, 0.0
    for run, resources in runs:
        elapsed = max(0.0, (now - (run.placed or run.started or now)).total_seconds())
        seconds += elapsed
        gpu_seconds += elapsed * resources.gpus
        cost += settings.prices.cost(resources, elapsed)
    most_gpu, most = settings.guard_running_gpu_hours * HOUR, settings.guard_running_seconds
    if not (0 < most_gpu < gpu_seconds or 0 < most < seconds):
        return None
    reason = Reason.of(
        ReasonCode.RUNNING_WORK_LOST,
        runs=len(runs),
        hours=seconds / HOUR,
        gpu_hours=gpu_seconds / HOUR,
        cost=f", an estimated {settings.prices.shown(cost)}" if settings.prices else "",
    )
    return Hold(
        id=hold_id([*(f"cancel {run.name}" for run, _ in runs), *tenant_action(tenant)]),
        kind=HoldKind.RUNNING,
        objects=frozenset(run.object for run, _ in runs if run.object is not None),
        tasks=len(runs),
        gpus=sum(resources.gpus for _, resources in runs),
        reason=reason,
        tenant=tenant.name if tenant is not None else None,
        files=release_files(tenant),
    )


def next_month(now: datetime) -> datetime:
    """Return the first moment of the next month, when budgets begin anew."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return first.replace(year=year, month=month)
