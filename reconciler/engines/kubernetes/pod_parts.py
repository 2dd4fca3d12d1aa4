"""Parts of pods that builds, loads, trainings and buckets share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reconciler.engine import EngineError
from reconciler.engines.kubernetes.wrapper import literal
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Resources

#: An object of the Kubernetes API, or a part of one.
ApiObject: TypeAlias = dict[str, Any]

#: The label, of which the value is ``reconciler``, of every object that the engine makes.
MANAGED_BY = "app.kubernetes.io/managed-by"

#: The container in which a command, or a build, runs. Templates name it; logs are read from it.
CONTAINER = "main"

#: Every container but those that are privileged by need.
UNPRIVILEGED: Mapping[str, Any] = {"allowPrivilegeEscalation": False}


class RenderError(EngineError):
    """The cluster, as it is configured, cannot carry out a run.

    It is not permanent: a profile, a GPU type or a bucket may be added to the configuration.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)


def refuse(detail: str) -> RenderError:
    """Return the error for a run that no configuration would make possible."""
    return RenderError(Reason.of(ReasonCode.RUN_REFUSED, detail=detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A part of a pod, to be added to others.

    ``mounts`` are of the main container. ``objects`` must exist beside the Job. Volumes of one
    name are the same volume: two directories of a bucket may share it.
    """

    init_containers: tuple[ApiObject, ...] = ()
    volumes: tuple[ApiObject, ...] = ()
    mounts: tuple[ApiObject, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    objects: tuple[ApiObject, ...] = ()

    def __add__(self, other: Fragment) -> Fragment:
        return Fragment(
            init_containers=self.init_containers + other.init_containers,
            volumes=_distinct(self.volumes + other.volumes),
            mounts=self.mounts + other.mounts,
            annotations={**self.annotations, **other.annotations},
            objects=_distinct(self.objects + other.objects),
        )


def _distinct(items: tuple[ApiObject, ...]) -> tuple[ApiObject, ...]:
    found: list[ApiObject] = []
    for item in items:
        if item not in found:
            found.append(item)
    return tuple(found)


def annotation_file(volume: str, annotation: str, file: str) -> ApiObject:
    """Return a volume with one file: the text of a pod's annotation.

    So a pod brings its small files along, and no second object has to be created, found and
    cleared away for each Job.
    """
    reference = {"fieldPath": f"metadata.annotations['{annotation}']"}
    return {"name": volume, "downwardAPI": {"items": [{"path": file, "fieldRef": reference}]}}


def variables(values: Mapping[str, str]) -> list[ApiObject]:
    """Render environment variables whose values arrive as they are."""
    return [{"name": name, "value": literal(value)} for name, value in values.items()]


def container_resources(asked: Resources, *, gpu: Mapping[str, int]) -> ApiObject:
    """Return requests and limits of the main container.

    Memory is limited to what was requested, so that a pod is never killed for what a neighbour
    uses. CPU has no limit: idle cores may be used, and throttling helps nobody. ``disk`` bounds
    the container's own files and its emptyDirs together.
    """
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if asked.cpu is not None:
        requests["cpu"] = cores(asked.cpu)
    if asked.memory is not None:
        requests["memory"] = limits["memory"] = size(asked.memory)
    if asked.disk is not None:
        requests["ephemeral-storage"] = limits["ephemeral-storage"] = size(asked.disk)
    for resource, count in gpu.items():
        requests[resource] = limits[resource] = str(count)
    found = {"requests": requests, "limits": limits}
    return {name: values for name, values in found.items() if values}


def cores(value: float) -> str:
    """Return cores as a quantity: ``4``, ``500m``."""
    millis = math.ceil(value * 1000)
    return f"{millis}m" if millis % 1000 else str(millis // 1000)


def size(value: int) -> str:
    """Return bytes as the shortest exact quantity: ``16Gi``, ``1000``."""
    for power, unit in ((50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if value and value % (1 << power) == 0:
            return f"{value >> power}{unit}"
    return str(value)
