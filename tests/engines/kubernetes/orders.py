"""Runs to order, and the Jobs and Pods that come of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from reconciler.engine import Run, RunSpec
from reconciler.reasons import message
from reconciler.types import GROUP, JSON, ExecutionHash, Kind, ObjectRef, TaskKey, TaskKind
from tests.specs import labels, run_spec

INSTANCE = "tests"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def order(
    namespace: str, name: str = "m", *, params: str = "", execution_hash: str = ""
) -> RunSpec:
    """A training of a Model; other params are another key, another how another name."""
    key = TaskKey(digest(f"{namespace}/{name}/{params}"))
    ref = ObjectRef(Kind.MODEL, namespace, name)
    return run_spec(
        name,
        key=key,
        execution_hash=ExecutionHash(digest(execution_hash)),
        namespace=namespace,
        image=f"registry.test/image@sha256:{'0' * 64}",
        command=("train.sh",),
        output=f"s3://bucket/{name}/{key}/",
        labels=labels(TaskKind.TRAIN, ref, key=key, instance=INSTANCE),
    )


def bare_job(spec: RunSpec, **job: Any) -> list[dict[str, JSON]]:
    """The least Job that is a run: what the control plane makes of it is what is looked at."""
    annotations: dict[str, JSON] = {
        f"{GROUP}/execution-hash": spec.execution_hash,
        f"{GROUP}/request-hash": spec.request_hash,
        f"{GROUP}/output": spec.output,
    }
    metadata: dict[str, JSON] = {"labels": dict(spec.labels), "annotations": annotations}
    container: dict[str, JSON] = {"name": "main", "image": spec.image, "command": ["train.sh"]}
    template: dict[str, JSON] = {
        "metadata": dict(metadata),
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": spec.name, "namespace": spec.namespace, **metadata},
            "spec": {"backoffLimit": 0, "template": template, **job},
        }
    ]


def why(run: Run) -> str:
    """The sentence of a run's reason; empty without one."""
    return message(run.reason) if run.reason is not None else ""


def terminated(code: int, *, reason: str = "", message: str = "") -> Mapping[str, Any]:
    """A pod's status once its command has ended."""
    at = {"startedAt": "2026-11-23T10:00:00Z", "finishedAt": "2026-11-23T10:01:00Z"}
    state = {"exitCode": code, "reason": reason or "Error", "message": message, **at}
    return {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [
            {
                "name": "main",
                "image": "i",
                "imageID": "i",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": state},
            }
        ],
    }


def running() -> Mapping[str, Any]:
    """A pod's status while its command runs."""
    return {
        "phase": "Running",
        "containerStatuses": [
            {
                "name": "main",
                "image": "i",
                "imageID": "i",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": "2026-11-23T10:00:00Z"}},
            }
        ],
    }
