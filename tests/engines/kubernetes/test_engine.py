"""Runs as Jobs, on a real API server and Job controller; the kubelet's part is written by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from reconciler.engine import EngineError, FailureClass, RunPhase
from reconciler.types import GROUP, JSON
from tests.cluster.api import eventually
from tests.cluster.fixtures import Namespace
from tests.engines.kubernetes.conftest import Watched, engine_at
from tests.engines.kubernetes.orders import bare_job, order, running, terminated, why


def pods(namespace: Namespace, run: str) -> list[Any]:
    found = namespace.cluster.api.items(namespace.pods)
    return [p for p in found if p["metadata"]["labels"]["batch.kubernetes.io/job-name"] == run]


def kubelet(namespace: Namespace, run: str, status: Any) -> None:
    """Say of the newest pod of a run what its kubelet would."""
    pod = eventually(lambda: pods(namespace, run), "the run's pod")[-1]
    path = f"{namespace.pods}/{pod['metadata']['name']}/status"
    namespace.cluster.api.request("PATCH", path, {"status": status})


async def test_a_run_is_a_job_and_is_followed_to_its_end(
    watched: Watched, namespace: Namespace
) -> None:
    spec = await watched.ordered(namespace)
    run = watched.engine.runs()[spec.name]
    assert run.phase is RunPhase.PENDING
    assert (run.key, run.execution_hash, run.request_hash, run.object) == (
        spec.key,
        spec.execution_hash,
        spec.request_hash,
        spec.object,
    )
    kubelet(namespace, spec.name, running())
    await watched.comes_to(spec, RunPhase.RUNNING)
    kubelet(namespace, spec.name, terminated(0))
    run = await watched.comes_to(spec, RunPhase.SUCCEEDED)
    assert run.result is not None
    assert run.result.url == spec.output


async def test_creating_a_run_again_adopts_it(watched: Watched, namespace: Namespace) -> None:
    spec = await watched.ordered(namespace)
    await watched.engine.create(spec)
    assert len(namespace.cluster.api.items(namespace.jobs)) == 1
    async with engine_at(namespace) as second:
        assert second.engine.runs().keys() == {spec.name}, "a restart finds it"
        await second.engine.create(spec)
    assert len(namespace.cluster.api.items(namespace.jobs)) == 1


async def test_somebody_else_s_job_of_that_name_is_left_alone(
    watched: Watched, namespace: Namespace
) -> None:
    spec = order(namespace.name)
    (theirs,) = bare_job(spec)
    theirs["metadata"]["labels"] = {"app": "theirs"}  # type: ignore[call-overload,index]
    before = namespace.cluster.api.create(namespace.jobs, theirs)
    with pytest.raises(EngineError, match="is left alone") as caught:
        await watched.engine.create(spec)
    assert not caught.value.permanent
    await watched.engine.delete(spec.name)
    after = namespace.cluster.api.get(f"{namespace.jobs}/{spec.name}")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def kept_pod(namespace: Namespace, run: str) -> str:
    """The path of a run's pod, which a finalizer keeps although it is deleted."""
    pod = eventually(lambda: pods(namespace, run), "the run's pod")[0]
    path = f"{namespace.pods}/{pod['metadata']['name']}"
    finalizers = [*pod["metadata"].get("finalizers", []), "test/keeps"]
    namespace.cluster.api.request("PATCH", path, {"metadata": {"finalizers": finalizers}})
    return path


async def test_a_deleted_run_is_there_until_none_of_its_pods_is_left(
    watched: Watched, namespace: Namespace
) -> None:
    spec = await watched.ordered(namespace)
    # A finalizer keeps the pod, as a kubelet does until its containers have ended.
    path = kept_pod(namespace, spec.name)
    kubelet(namespace, spec.name, running())
    await watched.comes_to(spec, RunPhase.RUNNING)

    await watched.engine.delete(spec.name)
    assert watched.engine.runs()[spec.name].deleting
    eventually(
        lambda: not namespace.cluster.api.items(namespace.jobs) or None, "the Job to be gone"
    )
    runs = await watched.until(lambda runs: "are being ended" in why(runs[spec.name]))
    assert runs[spec.name].live
    namespace.cluster.api.request("PATCH", path, {"metadata": {"finalizers": None}})
    await watched.until(lambda runs: spec.name not in runs)


async def test_a_disruption_is_not_told_of_the_next_run_of_the_same_name(
    watched: Watched, namespace: Namespace
) -> None:
    spec = await watched.ordered(namespace)
    # As while the garbage collector has not come to it yet.
    path = kept_pod(namespace, spec.name)
    disrupted = {"type": "DisruptionTarget", "status": "True", "message": "low on memory"}
    kubelet(namespace, spec.name, {"phase": "Failed", "conditions": [disrupted]})
    run = await watched.comes_to(spec, RunPhase.FAILED)
    assert run.failure is FailureClass.INFRASTRUCTURE
    await watched.engine.delete(spec.name)
    await watched.until(lambda runs: spec.name not in runs)

    await watched.engine.create(spec)
    names = {path.rpartition("/")[2]}

    def newer() -> set[str]:
        return {p["metadata"]["name"] for p in pods(namespace, spec.name)} - names

    (second,) = eventually(newer, "a pod of the second Job")
    status = {"status": terminated(3, message="out of luck")}
    namespace.cluster.api.request("PATCH", f"{namespace.pods}/{second}/status", status)
    run = await watched.comes_to(spec, RunPhase.FAILED)
    assert (run.failure, run.attempts) == (FailureClass.COMMAND, 1)
    assert "out of luck" in why(run)
    namespace.cluster.api.request("PATCH", path, {"metadata": {"finalizers": None}})


async def test_deleting_what_is_not_there_is_nothing(watched: Watched) -> None:
    await watched.engine.delete("r-nobody-t-000000000000-000000")


async def test_a_command_s_failure_is_told_from_the_cluster_s(
    watched: Watched, namespace: Namespace
) -> None:
    mine, theirs = order(namespace.name, "mine"), order(namespace.name, "theirs")
    for spec in (mine, theirs):
        await watched.engine.create(spec)
    kubelet(namespace, mine.name, terminated(137, reason="OOMKilled"))
    disrupted = {
        "phase": "Failed",
        "conditions": [
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
            }
        ],
    }
    kubelet(namespace, theirs.name, disrupted)
    runs = await watched.until(lambda runs: all(not run.live for run in runs.values()))
    assert runs[mine.name].failure is FailureClass.COMMAND
    assert "ran out of memory" in why(runs[mine.name])
    assert runs[theirs.name].failure is FailureClass.INFRASTRUCTURE
    assert "NoExecute taint" in why(runs[theirs.name])


async def test_a_run_is_lost_while_its_node_is_not_heard_of(
    watched: Watched, namespace: Namespace
) -> None:
    spec = await watched.ordered(namespace)

    def conditions(ready: str, containers: str, reason: str = "") -> dict[str, Any]:
        found = {"Ready": ready, "ContainersReady": containers}
        return {
            "conditions": [
                {"type": kind, "status": status, **({"reason": reason} if reason else {})}
                for kind, status in found.items()
            ]
        }

    kubelet(namespace, spec.name, {**running(), **conditions("True", "True")})
    run = await watched.comes_to(spec, RunPhase.RUNNING)
    assert not run.lost
    kubelet(namespace, spec.name, conditions("False", "True"))
    runs = await watched.until(lambda runs: runs[spec.name].lost)
    assert runs[spec.name].live
    assert "nothing is heard of" in why(runs[spec.name])
    # As a kubelet says it where a sidecar is started anew.
    kubelet(namespace, spec.name, conditions("False", "False", "ContainersNotReady"))
    runs = await watched.until(lambda runs: not runs[spec.name].lost)
    assert why(runs[spec.name]) == "running"


async def test_a_rank_that_is_evicted_is_to_blame_for_the_others(namespace: Namespace) -> None:
    ranks: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": 2,
        "parallelism": 2,
        "podReplacementPolicy": "Failed",
    }
    async with engine_at(namespace, render=partial(bare_job, **ranks)) as watched:
        spec = await watched.ordered(namespace)
        path = namespace.pods
        both = eventually(
            lambda: found if len(found := pods(namespace, spec.name)) == 2 else None, "two pods"
        )
        first, second = (f"{path}/{pod['metadata']['name']}" for pod in both)
        api = namespace.cluster.api
        for pod in (first, second):
            api.request("PATCH", f"{pod}/status", {"status": running()})
        await watched.until(lambda runs: runs[spec.name].attempts == 1)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        disrupted = {"type": "DisruptionTarget", "status": "True", "message": "evicting"}
        status = {"conditions": [{**disrupted, "lastTransitionTime": now}]}
        keeps = [*both[1]["metadata"]["finalizers"], "test/keeps"]
        api.request("PATCH", second, {"metadata": {"finalizers": keeps}})
        api.request("PATCH", f"{second}/status", {"status": status})
        api.delete(second)
        # Its peer fails on its own account; of the one that was evicted nothing is left.
        api.request("PATCH", f"{first}/status", {"status": terminated(1, message="peer is gone")})
        await watched.until(lambda runs: "disrupted" in why(runs[spec.name]))
        api.request("PATCH", second, {"metadata": {"finalizers": None}})
        run = await watched.comes_to(spec, RunPhase.FAILED)
        assert api.find(second) is None
    assert run.failure is FailureClass.INFRASTRUCTURE
    assert why(run) == "its pod was disrupted: evicting"


async def test_a_daemon_that_was_not_there_does_not_blame_the_ranks_that_were_left(
    namespace: Namespace,
) -> None:
    policy = {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}]}
    spec, api, path = order(namespace.name), namespace.cluster.api, namespace.pods
    (job,) = bare_job(
        spec, completionMode="Indexed", completions=2, parallelism=2,
        podReplacementPolicy="Failed", podFailurePolicy=policy,
    )  # fmt: skip
    api.create(namespace.jobs, job)
    first, second = eventually(
        lambda: found if len(found := pods(namespace, spec.name)) == 2 else None, "two pods"
    )
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    evicted = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": now}
    name = second["metadata"]["name"]
    status = {**terminated(143), "conditions": [evicted]}
    api.request("PATCH", f"{path}/{name}/status", {"status": status})
    api.delete(f"{path}/{name}")
    left = {"status": terminated(1, message="peer is gone")}
    api.request("PATCH", f"{path}/{first['metadata']['name']}/status", left)
    eventually(lambda: api.find(f"{path}/{name}") is None or None, "the evicted pod to be gone")
    async with engine_at(namespace) as watched:
        run = await watched.comes_to(spec, RunPhase.FAILED)
    assert run.failure is FailureClass.INFRASTRUCTURE
    assert "was disrupted" in why(run)


async def test_a_run_that_cannot_be_scheduled_says_why(
    watched: Watched, namespace: Namespace
) -> None:
    spec = await watched.ordered(namespace)
    # This cluster has no nodes, and its scheduler says so.
    runs = await watched.until(lambda runs: "no node can take it" in why(runs[spec.name]))
    assert runs[spec.name].phase is RunPhase.PENDING
    assert "no nodes available" in why(runs[spec.name])


async def test_what_the_api_server_can_never_accept_is_the_manifest_s_fault(
    namespace: Namespace,
) -> None:
    spec = order(namespace.name)
    async with engine_at(namespace) as watched:
        watched.engine._render = lambda s: bare_job(s, backoffLimit=-1)
        with pytest.raises(EngineError, match="backoffLimit") as caught:
            await watched.engine.create(spec)
    assert caught.value.permanent


async def test_a_volume_that_the_api_server_refuses_is_the_configuration_s_fault(
    namespace: Namespace,
) -> None:
    metadata: dict[str, JSON] = {"name": namespace.name}
    volume: dict[str, JSON] = {"kind": "PersistentVolume", "metadata": metadata, "spec": {}}
    spec = order(namespace.name)
    async with engine_at(namespace, render=lambda s: [*bare_job(s), volume]) as watched:
        with pytest.raises(EngineError, match="refuses its PersistentVolume") as caught:
            await watched.engine.create(spec)
    assert not caught.value.permanent
    assert namespace.cluster.api.find(f"{namespace.jobs}/{spec.name}") is None


async def test_a_missing_namespace_is_said_and_may_come(namespace: Namespace) -> None:
    async with engine_at(namespace, everywhere=True) as watched:
        with pytest.raises(EngineError, match="there is no namespace nowhere") as caught:
            await watched.engine.create(order("nowhere"))
    assert not caught.value.permanent


async def test_nothing_is_created_in_a_namespace_that_is_not_looked_at(
    watched: Watched, namespace: Namespace
) -> None:
    spec = order("default")
    with pytest.raises(EngineError, match="does not name default") as caught:
        await watched.engine.create(spec)
    assert not caught.value.permanent
    assert namespace.cluster.api.find(f"/apis/batch/v1/namespaces/default/jobs/{spec.name}") is None


async def test_a_used_up_quota_is_said_and_may_be_raised(
    watched: Watched, namespace: Namespace
) -> None:
    path = f"/api/v1/namespaces/{namespace.name}/resourcequotas"
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    namespace.cluster.api.create(path, quota)
    eventually(
        lambda: namespace.cluster.api.get(f"{path}/none").get("status", {}).get("hard"),
        "the quota to be in force",
    )
    with pytest.raises(EngineError, match="exceeded quota") as caught:
        await watched.engine.create(order(namespace.name))
    assert not caught.value.permanent


async def test_jobs_without_our_labels_are_not_runs(watched: Watched, namespace: Namespace) -> None:
    spec = order(namespace.name)
    del spec.labels[f"{GROUP}/key"]  # type: ignore[attr-defined]
    (job,) = bare_job(spec)
    namespace.cluster.api.create(namespace.jobs, job)
    other = order(namespace.name, "other")
    await watched.engine.create(other)
    runs = await watched.until(lambda runs: other.name in runs)
    assert spec.name not in runs


async def test_who_does_not_lead_changes_nothing(namespace: Namespace) -> None:
    spec = order(namespace.name)
    async with engine_at(namespace) as leader:
        await leader.engine.create(spec)
        async with engine_at(namespace, may_write=lambda: False) as deposed:
            with pytest.raises(EngineError, match="does not lead"):
                await deposed.engine.create(order(namespace.name, "other"))
            with pytest.raises(EngineError, match="does not lead"):
                await deposed.engine.delete(spec.name)
    (job,) = namespace.cluster.api.items(namespace.jobs)
    assert job["metadata"]["name"] == spec.name
    assert "deletionTimestamp" not in job["metadata"]
