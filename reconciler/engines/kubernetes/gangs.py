"""Gangs: the scheduler places all pods of a Job, or none.

Kubernetes has them by ``spec.scheduling`` of a Job, behind gates that are off in 1.37:
GenericWorkload brings PodGroups, which the API server then serves, and WorkloadWithJob the field,
which the API server drops without. An older one warns of it. So it is given to those that serve
PodGroups, and what comes of it is the API server's to say.

A Job of a queue is admitted as a whole by Kueue.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.engines.kubernetes.api_errors import Forbidden, NotFound
from reconciler.engines.kubernetes.client import Api

_DISCOVERY = "/apis/scheduling.k8s.io/v1beta1"


class _Resource(msgspec.Struct, frozen=True):
    name: str = ""


class _Resources(msgspec.Struct, frozen=True):
    resources: list[_Resource] = msgspec.field(default_factory=list)


async def in_gang(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    """Return a Job of several ranks as a gang, if possible.

    Raises ApiError. Gangs are looked up each time: such Jobs are few, and a cluster may be
    upgraded under a daemon.
    """
    spec = job["spec"]
    if "completions" not in spec or spec.get("suspend") or not await _has_pod_groups(api):
        return job
    policy = {"gang": {"minCount": spec["parallelism"]}}
    return {**job, "spec": {**spec, "scheduling": {"schedulingPolicy": policy}}}


async def _has_pod_groups(api: Api) -> bool:
    try:
        served = msgspec.json.decode(await api.get(_DISCOVERY), type=_Resources)
    except (NotFound, Forbidden, msgspec.MsgspecError):
        return False
    return any(resource.name == "podgroups" for resource in served.resources)
