"""Holds: a sync above a limit waits until a user releases it.

A hold's id is a hash of exactly the actions it holds, and those are a function of the manifests
and of what is recorded in Git alone: the plan of a pull request shows the id that the daemon
will use, and a crash between two creations does not change it. Once a set has been accepted its
tasks are recorded, so it is not held again while it is being worked off.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.manifests import Tenant
from reconciler.planner.names import hold_id
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phases import TaskPhase
from reconciler.planner.plan import RELEASE_FILE, Hold, HoldKind
from reconciler.planner.planner_config import PlannerConfig
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ExecutionHash, Location, ObjectRef, Problem, TaskKey


def read_release(data: bytes | None) -> dict[str, int]:
    """Return the ids in a release file, each with its first line.

    An id is the first word of a line; ``#`` begins a comment.
    """
    found: dict[str, int] = {}
    text = data.decode("utf-8-sig", "replace") if data is not None else ""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if words:
            found.setdefault(words[0], number)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """The lines that release holds.

    Those of ``every`` release any hold. ``by_tenant`` has the lines in the files of a tenant, each
    with its place: they release that tenant's holds alone. ``used`` are the ids that were released
    before.
    """

    every: Container[str] = frozenset()
    by_tenant: Mapping[str, Mapping[str, Location]] = field(default_factory=dict)
    used: Container[str] = frozenset()

    def settle(self, hold: Hold) -> tuple[Hold, bool]:
        """Give a hold an unused id, and return whether it is released."""
        hold = replace(hold, id=unused_id(hold.id, self.used))
        own = self.by_tenant.get(hold.tenant, {}) if hold.tenant is not None else {}
        return hold, hold.id in self.every or hold.id in own

    def refused(self, holds: Iterable[Hold]) -> Iterator[Problem]:
        """Find lines in files of tenants that would release what is another's."""
        for hold in holds:
            whose = f"of tenant {hold.tenant}" if hold.tenant is not None else "over all tenants"
            for tenant, lines in self.by_tenant.items():
                if tenant != hold.tenant and hold.id in lines:
                    message = f"the hold is {whose}, and tenant {tenant} cannot release it"
                    yield Problem(lines[hold.id], hold.id, message)


def unused_id(identifier: str, releases: Container[str]) -> str:
    """The id of a hold, another one if it was released before.

    A line in the release file releases once: it stands there when the same actions come again.
    """
    while identifier in releases:
        identifier = hold_id([identifier])
    return identifier


def guards(
    objects: Mapping[ObjectRef, ResolvedObject],
    records: Mapping[ObjectRef, ObjectStatus],
    wanted: frozenset[TaskKey],
    lost: Container[TaskKey],
    settings: PlannerConfig,
    releases: Releases,
) -> Iterator[tuple[Hold, bool]]:
    """Yield the guard holds of a plan, each with its release.

    A tenant's guard counts its own objects. What it holds does not count for the guard over all: no
    tenant's objects wait for what another tenant may not make.
    """
    tenants, kept = settings.tenants, set[ObjectRef]()
    own: defaultdict[str | None, dict[ObjectRef, ResolvedObject]] = defaultdict(dict)
    for ref, item in objects.items() if tenants else ():
        own[tenants.name_of(ref.namespace)][ref] = item
    for tenant in tenants.members:
        tasks, gpus = tenant.guard_tasks, tenant.guard_gpus
        if tasks is None or gpus is None or tenant.name not in own:
            continue
        hold = guard(own[tenant.name], records, wanted, lost, tasks, gpus, tenant=tenant)
        if hold is not None:
            hold, released = releases.settle(hold)
            yield hold, released
            kept |= hold.objects if not released else frozenset()
    rest = {ref: item for ref, item in objects.items() if ref not in kept} if kept else objects
    hold = guard(rest, records, wanted, lost, settings.guard_tasks, settings.guard_gpus)
    if hold is not None:
        yield releases.settle(hold)


def guard(
    desired: Mapping[ObjectRef, ResolvedObject],
    records: Mapping[ObjectRef, ObjectStatus],
    wanted: frozenset[TaskKey],
    lost: Container[TaskKey],
    most_tasks: int,
    most_gpus: int,
    *,
    tenant: Tenant | None = None,
) -> Hold | None:
    """Return a hold if a plan would make more than ``guard`` allows.

    Its tasks are those of artifacts that are made again: of objects that have one, or whose one is
    ``lost``. Its GPUs are also those of new objects: the next typing error may be their count.
    """
    again: dict[tuple[str, TaskKey], Task] = {}
    new: dict[tuple[str, TaskKey], Task] = {}
    objects: dict[ObjectRef, bool] = {}
    for ref, item in desired.items():
        if item.manifest.document.spec.suspend:
            continue
        record = records.get(ref)
        has_artifact = record is not None and (_has_made(record) or item.key in lost)
        has_artifact |= any(variant.task.key in lost for variant in item.variants)
        accepted = accepted_tasks(record) if record is not None else frozenset()
        for task in item.tasks:
            if task.key is None or task.key not in wanted:
                continue
            # More GPUs for the same key are another execution, which nobody has accepted.
            gpus = task.resources.gpus
            if (task.key, task.execution_hash if gpus else None) in accepted:
                continue
            if has_artifact or gpus:
                counted, slot = again if has_artifact else new, (ref.namespace, task.key)
                known = counted.get(slot)
                if known is None or known.resources.gpus < gpus:
                    counted[slot] = task
                objects[ref] = has_artifact
    held = again | new
    gpus = sum(task.resources.gpus for task in held.values())
    if gpus <= most_gpus:
        held, gpus = again, sum(task.resources.gpus for task in again.values())
        if len(again) <= most_tasks:
            return None
        objects = {ref: has_artifact for ref, has_artifact in objects.items() if has_artifact}
    actions = [
        f"create {namespace} {key} {task.resources.gpus}" for (namespace, key), task in held.items()
    ]
    return Hold(
        id=hold_id([*actions, *tenant_action(tenant)]),
        kind=HoldKind.GUARD,
        objects=frozenset(objects),
        tasks=len(held),
        gpus=gpus,
        reason=Reason.of(
            ReasonCode.RECOMPUTE_TOO_LARGE,
            tasks=len(held),
            gpus=gpus,
            objects=len(objects),
            existing=sum(objects.values()),
            guard=f"guard of tenant {tenant.name}" if tenant is not None else "guard",
            guard_tasks=most_tasks,
            guard_gpus=most_gpus,
        ),
        tenant=tenant.name if tenant is not None else None,
        files=release_files(tenant),
    )


def _has_made(record: ObjectStatus) -> bool:
    return record.artifact is not None or any(v.artifact is not None for v in record.variants)


def tenant_action(tenant: Tenant | None) -> list[str]:
    """Return what makes a tenant's hold another than one over all tenants."""
    return [f"tenant {tenant.name}"] if tenant is not None else []


def release_files(tenant: Tenant | None) -> tuple[str, ...]:
    """Return the files with lines that release a hold, the nearest first."""
    return (*(tenant.releases if tenant is not None else ()), RELEASE_FILE)


def accepted_tasks(
    record: ObjectStatus,
) -> frozenset[tuple[TaskKey | None, ExecutionHash | None]]:
    """The accepted tasks of earlier syncs, by key and execution.

    Each stands there a second time without its execution, for tasks without GPUs. What is wanted
    although it is recorded as complete was lost. A suspended object's tasks wait without having
    been counted.
    """
    passed = [
        task
        for task in record.tasks
        if task.phase not in (TaskPhase.HELD, TaskPhase.SUCCEEDED)
        and task.reason != ReasonCode.SUSPENDED.value
    ]
    return frozenset(
        (task.key, execution) for task in passed for execution in (task.execution_hash, None)
    )
