"""Kueue's queues of a test: all are of its namespace, or named after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite
from tests.e2e.site import environment
from tests.processes import run

VERSION = "kueue.x-k8s.io/v1beta2"
_API = f"/apis/{VERSION}"
GPU = "nvidia.com/gpu"


def local_queue(namespace: Namespace, name: str = "gpus") -> None:
    """A LocalQueue of the test's ClusterQueue, which need not be there."""
    _create(
        namespace,
        f"namespaces/{namespace.name}/localqueues",
        "LocalQueue",
        name,
        {"clusterQueue": namespace.name},
    )


def cluster_queue(namespace: Namespace, *, gpus: int, preemption: str = "Never") -> None:
    """A ClusterQueue with a quota of GPUs, and plenty of all else."""
    _create(namespace, "resourceflavors", "ResourceFlavor", namespace.name, {})
    quotas = {"cpu": 1000, "memory": "1000Gi", "ephemeral-storage": "1000Gi", GPU: gpus}
    resources = [{"name": name, "nominalQuota": quota} for name, quota in quotas.items()]
    spec = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": preemption},
        "resourceGroups": [
            {
                "coveredResources": list(quotas),
                "flavors": [{"name": namespace.name, "resources": resources}],
            }
        ],
    }
    _create(namespace, "clusterqueues", "ClusterQueue", namespace.name, spec)


def queues(namespace: Namespace, *, gpus: int, preemption: str = "Never") -> None:
    """Both."""
    cluster_queue(namespace, gpus=gpus, preemption=preemption)
    local_queue(namespace)


def priority_class(namespace: Namespace, value: int) -> str:
    """A PriorityClass of this test; returns its name."""
    name = f"{namespace.name}-{value}"
    body = {"metadata": {"name": name}, "value": value}
    namespace.cluster.api.create("/apis/scheduling.k8s.io/v1/priorityclasses", body)
    return name


def workloads(namespace: Namespace) -> list[Any]:
    return namespace.cluster.api.items(f"{_API}/namespaces/{namespace.name}/workloads")


def why(site: ClusterSite, name: str) -> str:
    """What ``reconciler why`` prints."""
    done = run(site.command("why", name), env=environment(), cwd=site.work)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _create(
    namespace: Namespace, collection: str, kind: str, name: str, spec: Mapping[str, Any]
) -> None:
    body = {"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
    namespace.cluster.api.create(f"{_API}/{collection}", body)
