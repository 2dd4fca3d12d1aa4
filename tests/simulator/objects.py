"""Jobs and pods, and what the daemon has written into them."""

from __future__ import annotations

import json
from typing import Any

from tests.simulator.api_server import Object

GROUP = "substratus.ai"
JOB_NAME = "batch.kubernetes.io/job-name"
JOB_UID = "batch.kubernetes.io/controller-uid"
#: The task of a Job that lists or collects artifacts.
COLLECT = "collect"


def is_of_task(found: Object) -> bool:
    """Return whether a Job or a pod makes something, unlike those that collect."""
    return label(found, "task") != COLLECT


def is_over(pod: Object) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def over(job: Object) -> bool:
    return bool(job.get("status", {}).get("conditions"))


def label(found: Object, name: str) -> str:
    return str(found["metadata"].get("labels", {}).get(f"{GROUP}/{name}", ""))


def params(pod: Object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_note(pod, "params") or "{}")
    return found


def _note(found: Object, name: str) -> str:
    return str(found["metadata"].get("annotations", {}).get(f"{GROUP}/{name}", ""))


def output(found: Object) -> str:
    """The artifact directory or the image that a Job or a pod makes."""
    return _note(found, "output")


def execution_hash(job: Object) -> str:
    return _note(job, "execution-hash")


def lineage_of(job: Object) -> dict[str, Any]:
    """What a Job says that it makes, and of what."""
    found: dict[str, Any] = json.loads(lineage_text(job["spec"]["template"]))
    return found


def lineage_text(template: Object) -> str:
    for variable in template["spec"]["containers"][0]["env"]:
        if variable["name"] == "RECONCILER_LINEAGE":
            return "{" + str(variable["value"]) + "}"
    return "{}"


def lineage_of_pod(pod: Object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_note(pod, "lineage") or "{}")
    return found


def is_disrupted(pod: Object) -> bool:
    return any(c["type"] == "DisruptionTarget" for c in pod["status"].get("conditions", ()))


def exit_code(pod: Object) -> int:
    for container in pod["status"].get("containerStatuses", ()):
        return int(container["state"].get("terminated", {}).get("exitCode", 0))
    return 0
