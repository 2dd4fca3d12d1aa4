"""Runs that a user ends, on a real API server and Job controller."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import EngineError, FailureClass, RunPhase, RunSpec
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.ended_runs import ClusterRun, ClusterRuns
from reconciler.reasons import ReasonCode
from tests.cluster.api import eventually
from tests.cluster.fixtures import Namespace
from tests.cluster.kubeconfig import write_kubeconfig
from tests.engines.kubernetes.conftest import Watched, engine_at
from tests.engines.kubernetes.orders import INSTANCE, bare_job, running, terminated, why
from tests.engines.kubernetes.test_engine import kubelet, pods

NOW = datetime(2026, 11, 30, 14, 38, tzinfo=UTC)
DEADLINE = {"reason": "DeadlineExceeded"}


@pytest.fixture
def runs(namespace: Namespace) -> ClusterRuns:
    return of(namespace.cluster.kubeconfig)


def of(kubeconfig: Path) -> ClusterRuns:
    return ClusterRuns(lambda: Api.connect(kubeconfig=str(kubeconfig)), INSTANCE)


async def end(
    runs: ClusterRuns, namespace: Namespace, cause: str = "wrong data", *, patience: float = 0.0
) -> ClusterRun:
    live = await runs.live([namespace.name])
    (ended,) = await runs.end(live, cause, now=NOW, patience=patience)
    return ended


async def begun(watched: Watched, namespace: Namespace) -> RunSpec:
    """A run whose command runs."""
    spec = await watched.ordered(namespace)
    kubelet(namespace, spec.name, running())
    await watched.comes_to(spec, RunPhase.RUNNING)
    return spec


async def test_the_command_is_ended_by_its_kubelet_and_the_run_has_failed_by_its_user(
    watched: Watched, namespace: Namespace, runs: ClusterRuns
) -> None:
    spec = await begun(watched, namespace)
    (live,) = await runs.live([namespace.name])
    assert (live.object, live.key, live.task) == (spec.object, spec.key, spec.task)
    assert live.started is not None
    assert not (await end(runs, namespace)).ended, "its pod has yet to end"
    (pod,) = pods(namespace, spec.name)
    assert pod["spec"]["activeDeadlineSeconds"] == 1
    going = await watched.until(lambda known: "ended it" in why(known[spec.name]))
    assert going[spec.name].live
    kubelet(namespace, spec.name, {**terminated(143), **DEADLINE})
    run = await watched.comes_to(spec, RunPhase.FAILED)
    assert run.failure is FailureClass.COMMAND
    assert run.reason is not None
    assert run.reason.code is ReasonCode.ENDED_BY_USER
    said = "ended it by `reconciler cancel --now` on 2026-11-30 at 14:38 UTC: wrong data"
    assert why(run).endswith(said)
    assert not why(run).startswith("a user"), "the API server knows the name"
    assert run.started is not None
    assert run.attempts == 1
    assert await runs.live([namespace.name]) == []
    async with engine_at(namespace) as second:
        assert second.engine.runs()[spec.name] == run, "a restart finds it"


async def test_a_retry_that_was_to_come_does_not(namespace: Namespace, runs: ClusterRuns) -> None:
    async with engine_at(namespace, render=partial(bare_job, backoffLimit=5)) as watched:
        spec = await begun(watched, namespace)
        await end(runs, namespace)
        kubelet(namespace, spec.name, {**terminated(143), **DEADLINE})
        await watched.comes_to(spec, RunPhase.FAILED)
    assert len(pods(namespace, spec.name)) == 1


async def test_a_disruption_on_the_way_does_not_start_it_again(
    watched: Watched, namespace: Namespace, runs: ClusterRuns
) -> None:
    spec = await begun(watched, namespace)
    await end(runs, namespace)
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    kubelet(namespace, spec.name, {**terminated(143), "conditions": [gone]})
    run = await watched.comes_to(spec, RunPhase.FAILED)
    assert run.failure is FailureClass.COMMAND
    assert "wrong data" in why(run)


async def test_the_first_cause_counts(
    watched: Watched, namespace: Namespace, runs: ClusterRuns
) -> None:
    spec = await begun(watched, namespace)
    await end(runs, namespace, "first")
    await end(runs, namespace, "second")
    kubelet(namespace, spec.name, {**terminated(143), **DEADLINE})
    assert why(await watched.comes_to(spec, RunPhase.FAILED)).endswith(": first")


async def test_a_command_that_ends_well_meanwhile_has_made_its_artifact(
    watched: Watched, namespace: Namespace, runs: ClusterRuns
) -> None:
    spec = await begun(watched, namespace)
    await end(runs, namespace)
    kubelet(namespace, spec.name, terminated(0))
    assert (await watched.comes_to(spec, RunPhase.SUCCEEDED)).result is not None


async def test_a_pod_that_has_not_started_goes_with_its_job(
    watched: Watched, namespace: Namespace, runs: ClusterRuns
) -> None:
    spec = await watched.ordered(namespace)
    eventually(lambda: pods(namespace, spec.name), "the run's pod")
    assert (await end(runs, namespace, patience=60.0)).ended
    run = await watched.comes_to(spec, RunPhase.FAILED)
    assert run.failure is FailureClass.COMMAND
    assert run.started is None
    assert pods(namespace, spec.name) == []


async def test_one_that_waits_in_a_queue_has_ended_at_once(
    namespace: Namespace, runs: ClusterRuns
) -> None:
    async with engine_at(namespace, render=partial(bare_job, suspend=True)) as watched:
        spec = await watched.ordered(namespace)
        queued = await watched.until(lambda known: known[spec.name].suspended is not None)
        assert queued[spec.name].phase is RunPhase.PENDING
        assert (await end(runs, namespace)).ended
        run = await watched.comes_to(spec, RunPhase.FAILED)
        assert run.suspended is not None, "its Job is still there"
        assert run.finished is not None
    assert await runs.live([namespace.name]) == []


async def test_who_may_not_end_jobs_is_told_so(
    watched: Watched, namespace: Namespace, tmp_path: Path
) -> None:
    spec = await begun(watched, namespace)
    reader = account(namespace, tmp_path, {"jobs": "get,list", "pods": "list"})
    with pytest.raises(EngineError, match='cannot patch resource "jobs"'):
        await end(of(reader), namespace)
    assert watched.engine.runs()[spec.name].live


async def test_the_documented_rights_are_enough(
    watched: Watched, namespace: Namespace, tmp_path: Path
) -> None:
    spec = await begun(watched, namespace)
    user = account(namespace, tmp_path, {"jobs": "get,list,patch", "pods": "list,patch"})
    await end(of(user), namespace)
    kubelet(namespace, spec.name, {**terminated(143), **DEADLINE})
    run = await watched.comes_to(spec, RunPhase.FAILED)
    assert why(run).startswith(f"system:serviceaccount:{namespace.name}:user ended it")


def account(namespace: Namespace, folder: Path, rights: dict[str, str]) -> Path:
    """A kubeconfig of an account with these rights in the namespace."""
    kubectl: Callable[..., str] = namespace.kubectl
    kubectl("create", "serviceaccount", "user")
    for resource, verbs in rights.items():
        kubectl("create", "role", resource, f"--resource={resource}", f"--verb={verbs}")
        bound = f"--serviceaccount={namespace.name}:user"
        kubectl("create", "rolebinding", resource, f"--role={resource}", bound)
    token = kubectl("create", "token", "user").strip()
    cluster = namespace.cluster
    server: dict[str, Any] = {
        "server": cluster.server,
        "certificate-authority": str(cluster.ca),
    }
    return write_kubeconfig(folder / "user.kubeconfig", server, {"token": token})
