"""The Job on a bucket's folder, for inventories, listings and collections."""

from __future__ import annotations

import hashlib
import json

from reconciler.engines.kubernetes import merge_patch as templates
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.pod_parts import MANAGED_BY, ApiObject, Fragment
from reconciler.types import GROUP

#: The labels of its task, and its keys in ``templates``; no task of an object is called so.
INVENTORY = "inventory"
COLLECT = "collect"
#: Seconds after which a Job that no daemon deletes goes by itself.
_TTL = 600


def bucket_job(
    purpose: str,
    url: str,
    namespace: str,
    settings: ClusterSettings,
    container: ApiObject,
    fragment: Fragment,
    *,
    deadline: float,
    task: str = INVENTORY,
) -> list[ApiObject]:
    """Render the Job with one container, and the volumes of its mounts.

    It has one name for each purpose and URL. ``deadline`` is its pod's, in seconds.
    """
    labels = {
        MANAGED_BY: "reconciler",
        f"{GROUP}/instance": settings.instance,
        f"{GROUP}/task": task,
    }
    pod: ApiObject = {
        "metadata": {"labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(deadline),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": list(fragment.init_containers),
            "containers": [container],
            "volumes": list(fragment.volumes),
        },
    }
    if settings.registry.secret is not None:  # its images may be mirrored there
        pod["spec"]["imagePullSecrets"] = [{"name": settings.registry.secret}]
    pod = templates.merge(pod, settings.templates.get(task, {}))
    identity = json.dumps([settings.instance, url]).encode()
    job: ApiObject = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"r-{purpose}-{hashlib.sha256(identity).hexdigest()[:12]}",
            "namespace": namespace,
            "labels": labels,
        },
        "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": _TTL, "template": pod},
    }
    return [job, *fragment.objects]
