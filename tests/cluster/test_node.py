"""Pods really run on the node of the tests, and nothing of it is left afterwards."""

from __future__ import annotations

from typing import Any

from tests.cluster.api import eventually
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace


def job(image: str, script: str, **pod: Any) -> dict[str, Any]:
    container = {"name": "c", "image": image, "command": ["sh", "-c", script]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work"},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container], **pod}},
        },
    }


def finished(namespace: Namespace) -> str:
    """The condition in which the Job ended."""

    def ended() -> str | None:
        status = namespace.cluster.api.get(f"{namespace.jobs}/work")["status"]
        held = [c["type"] for c in status.get("conditions", ()) if c["status"] == "True"]
        return next((c for c in held if c in {"Complete", "Failed"}), None)

    return eventually(ended, "the Job ends", seconds=120)


def test_a_job_runs_to_its_end(node_cluster: NodeCluster, node_namespace: Namespace) -> None:
    body = job(node_cluster.images["busybox"], "echo hello from $(hostname)")
    node_cluster.api.create(node_namespace.jobs, body)
    assert finished(node_namespace) == "Complete"
    assert "hello from work-" in node_namespace.kubectl("logs", "job/work")
