"""Faults planted in the daemon, each of which a simulation must find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

from reconciler.engines.kubernetes import artifact_collection
from reconciler.engines.kubernetes.leader_election import Leadership
from reconciler.engines.local.artifact_places import ArtifactPlaces, ArtifactState, _Prefix
from reconciler.manifests import Tenants
from reconciler.planner import RetentionInput, RetentionPlan, holds, plan_retention
from reconciler.planner.cost_holds import CostHolds
from reconciler.planner.live_runs import LiveRuns
from reconciler.planner.object_status import TaskStatus
from reconciler.planner.task_actions import TaskActions
from reconciler.planner.task_status import TaskUpdate
from reconciler.planner.wanted_tasks import WantedTasks
from reconciler.types import TaskKey
from reconciler.workspace.commit_reader import CommitReader, EffectiveObjects


def _lead_for_ever() -> AbstractContextManager[object]:
    """Guard removed: who has led once believes to lead, whatever the time."""
    return mock.patch.object(Leadership, "leads", property(lambda self: self._led))


def _prune_on_doubt() -> AbstractContextManager[object]:
    """Check dropped: a manifest that cannot be read counts as one that is gone."""

    def effective(_: CommitReader, snapshot: Any, *__: object) -> EffectiveObjects:
        return EffectiveObjects(snapshot.collection.objects, {})

    def read(self: CommitReader, *given: Any) -> Any:
        return replace(real(self, *given), unreadable=None)

    real = CommitReader.read
    return mock.patch.multiple(CommitReader, effective=effective, read=read)


def _overlook_pods() -> AbstractContextManager[object]:
    """Check dropped: of a Job that is deleted nothing is thought to be left."""
    return mock.patch("reconciler.engines.kubernetes.engine.observe_orphan", return_value=None)


def _delete_by_name() -> AbstractContextManager[object]:
    """Guard removed: a deletion does not say which object of a name it means."""
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    return mock.patch("reconciler.engines.kubernetes.engine.delete_options", return_value=options)


def _nothing(*_: object) -> tuple[()]:
    return ()


def _no_hold(*_: object) -> None:
    pass


def _no_references(*_: object) -> dict[TaskKey, Any]:
    return {}


def _use_unaccepted() -> AbstractContextManager[object]:
    """Check dropped: what is made from an artifact does not wait for its gate."""
    return mock.patch.object(WantedTasks, "unaccepted", _nothing)


def _remove_at_once() -> AbstractContextManager[object]:
    """Order swapped: files go before the marker says that they are going."""

    def remove(_: ArtifactPlaces, url: str, __: TaskKey) -> int:
        place = _Prefix(url.rstrip("/"))
        freed = place.clear()
        place.move(ArtifactState.HIDDEN, ArtifactState.REMOVING)
        return freed

    return mock.patch.object(ArtifactPlaces, "remove", remove)


def _remove_early() -> AbstractContextManager[object]:
    """Guard removed: what is hidden is removed by the next collection."""

    def plan(inputs: RetentionInput) -> RetentionPlan:
        return real(replace(inputs, policy=replace(inputs.policy, grace=timedelta(0))))

    real = plan_retention
    return mock.patch("reconciler.daemon.retention.plan_retention", plan)


def _overlook_inputs() -> AbstractContextManager[object]:
    """Roots left out: an artifact is kept without what it was made from."""
    return mock.patch("reconciler.planner.retention._upstream", _no_references)


def _spend_on() -> AbstractContextManager[object]:
    """Check removed: the budget holds nothing."""
    return mock.patch.object(CostHolds, "_budget", _no_hold)


def _end_running() -> AbstractContextManager[object]:
    """Guard removed: runs are ended however long they have gone on."""
    return mock.patch("reconciler.planner.diff.running_holds", _nothing)


def _reuse_releases() -> AbstractContextManager[object]:
    """Check dropped: a line releases again when the same actions come again."""
    return mock.patch("reconciler.planner.holds.unused_id", lambda identifier, _: identifier)


def _keep_releases() -> AbstractContextManager[object]:
    """Check dropped: what was released once passes the budget for ever."""

    def passes(self: TaskUpdate, decision: Any, before: TaskStatus) -> Any:
        return before.released or real(self, decision, before)

    real = TaskUpdate._released
    return mock.patch.object(TaskUpdate, "_released", passes)


def _forget_costs() -> AbstractContextManager[object]:
    """Sum left out: what runs have cost is not spent."""
    return mock.patch("reconciler.planner.status_update.with_spent", lambda spent, *_: spent)


def _overlook_spent() -> AbstractContextManager[object]:
    """Sum left out: the budget counts nothing that was spent."""
    return mock.patch.object(CostHolds, "_spent", return_value=0.0)


def _overlook_running_costs() -> AbstractContextManager[object]:
    """Sum left out: the budget counts nothing that runs."""
    return mock.patch.object(CostHolds, "_running", return_value=0.0)


def _overlook_rejected() -> AbstractContextManager[object]:
    """Check dropped: what waits for an accepted base is not told that it was rejected."""

    def upstream(self: TaskActions, task: Any) -> Any:
        return next((self.stuck[n] for n in self.wanted.needs(task) if n in self.stuck), None)

    return mock.patch.object(TaskActions, "_upstream", upstream)


def _overlook_doubts() -> AbstractContextManager[object]:
    """Check dropped: a collection overlooks a manifest that cannot be read."""
    return mock.patch("reconciler.daemon.retention.plan_doubts", _nothing)


def _overlook_tenants() -> AbstractContextManager[object]:
    """Check dropped: the limits of a tenant are not looked at."""

    def limit(self: LiveRuns, ref: Any, task: Any) -> Any:
        alike = copy(self)
        alike._settings = replace(self._settings, tenants=Tenants())
        return real(alike, ref, task)

    real = LiveRuns.limit
    return mock.patch.object(LiveRuns, "limit", limit)


def _overlook_tenant_budgets() -> AbstractContextManager[object]:
    """Check dropped: the budget of a tenant is not looked at."""

    def held(self: CostHolds, _: object, *given: Any) -> Any:
        return real(self, lambda _: 0, *given)

    real = CostHolds._held
    return mock.patch.object(CostHolds, "_held", held)


def _overlook_newest() -> AbstractContextManager[object]:
    """Roots left out: the newest artifacts of an object are kept no more than others."""
    return mock.patch("reconciler.planner.retention._recent", _nothing)


def _believe_unmounted() -> AbstractContextManager[object]:
    """Check dropped: what is not in a folder that may not be the bucket counts as gone."""

    def whole(text: bytes) -> tuple[list[str], int]:
        return real(text)[0], 1

    real = artifact_collection._whole
    return mock.patch.object(artifact_collection, "_whole", whole)


def _overlook_guard_of_gpus() -> AbstractContextManager[object]:
    """Check dropped: the guard does not look at GPUs."""

    def guard(*given: Any, **named: Any) -> Any:
        return real(*given[:-1], 10**6, **named)

    real: Any = holds.guard
    return mock.patch("reconciler.planner.holds.guard", guard)


MUTATIONS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "lead-for-ever": _lead_for_ever,
    "prune-on-doubt": _prune_on_doubt,
    "overlook-pods": _overlook_pods,
    "delete-by-name": _delete_by_name,
    "use-unaccepted": _use_unaccepted,
    "remove-at-once": _remove_at_once,
    "remove-early": _remove_early,
    "overlook-inputs": _overlook_inputs,
    "spend-on": _spend_on,
    "overlook-newest": _overlook_newest,
    "end-running": _end_running,
    "reuse-releases": _reuse_releases,
    "keep-releases": _keep_releases,
    "forget-costs": _forget_costs,
    "overlook-spent": _overlook_spent,
    "overlook-running-costs": _overlook_running_costs,
    "overlook-rejected": _overlook_rejected,
    "overlook-doubts": _overlook_doubts,
    "overlook-tenants": _overlook_tenants,
    "overlook-tenant-budgets": _overlook_tenant_budgets,
    "believe-unmounted": _believe_unmounted,
    "overlook-guard-of-gpus": _overlook_guard_of_gpus,
}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a fault during the block; None plants nothing."""
    if name is None:
        yield
        return
    with MUTATIONS[name]():
        yield
