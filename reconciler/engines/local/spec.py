"""A :class:`RunSpec` as versioned JSON. A later daemon reads what an earlier one ordered.

A field may be added with its default; the meaning of one that is here never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from reconciler.engine import RunSpec
from reconciler.engines.local.state import read_time, write_time
from reconciler.types import (
    JSON,
    BuildContext,
    Commit,
    Gpu,
    How,
    Intent,
    Kind,
    Mounted,
    ObjectRef,
    Resources,
    SecretKey,
    TaskKey,
    TaskKind,
    TreeId,
)

VERSION = 1
T = TypeVar("T")


class SpecError(Exception):
    """A file that is not a run's order as this version writes it."""


def encode_spec(spec: RunSpec, created: datetime) -> dict[str, JSON]:
    """The document for an order made at ``created``. Fields that are None are left out."""
    document: dict[str, Any] = {
        "version": VERSION,
        "created": write_time(created),
        "name": spec.name,
        "task": spec.task.value,
        "key": spec.key,
        "how": spec.how,
        "intent": spec.intent,
        "namespace": spec.namespace,
        "object": _object(spec.object),
        "build": _build(spec.build),
        "image": spec.image,
        "command": list(spec.command),
        "params": dict(spec.params),
        "env": dict(spec.env),
        "secretEnv": {
            name: {"name": secret.name, "key": secret.key}
            for name, secret in spec.secret_env.items()
        },
        "resources": _resources(spec.resources),
        "timeout": spec.timeout,
        "retries": spec.retries,
        "profile": spec.profile,
        "queue": spec.queue,
        "priority": spec.priority,
        "serviceAccount": spec.service_account,
        "output": spec.output,
        "outputKind": spec.output_kind.value,
        "base": _mounted(spec.base),
        "dataset": _mounted(spec.dataset),
        "labels": dict(spec.labels),
        "annotations": dict(spec.annotations),
        "lineage": dict(spec.lineage),
    }
    return _present(document)


def decode_spec(document: JSON) -> tuple[RunSpec, datetime]:
    """The order in a document, and when it was made. Raises SpecError."""
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise SpecError(f"expected a run of version {VERSION}")
    try:
        return _decode(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(f"not a run of version {VERSION}: {error!r}") from error


def _decode(document: Mapping[str, Any]) -> tuple[RunSpec, datetime]:
    created = read_time(document["created"])
    if created is None:
        raise ValueError("created is not a time")
    spec = RunSpec(
        name=document["name"],
        task=TaskKind(document["task"]),
        key=TaskKey(document["key"]),
        how=How(document["how"]),
        intent=Intent(document["intent"]),
        namespace=document["namespace"],
        object=_maybe(
            document.get("object"),
            lambda value: ObjectRef(Kind(value["kind"]), value["namespace"], value["name"]),
        ),
        build=_maybe(document.get("build"), _read_build),
        image=document.get("image"),
        command=tuple(document["command"]),
        params=document["params"],
        env=document["env"],
        secret_env={
            name: SecretKey(value["name"], value["key"])
            for name, value in document["secretEnv"].items()
        },
        resources=_read_resources(document["resources"]),
        timeout=float(document["timeout"]),
        retries=int(document["retries"]),
        profile=document.get("profile"),
        queue=document.get("queue"),
        priority=document.get("priority"),
        service_account=document.get("serviceAccount"),
        output=document.get("output"),
        output_kind=Kind(document["outputKind"]),
        base=_maybe(document.get("base"), _read_mounted),
        dataset=_maybe(document.get("dataset"), _read_mounted),
        labels=document["labels"],
        annotations=document["annotations"],
        lineage=document["lineage"],
    )
    return spec, created


def _object(ref: ObjectRef | None) -> JSON:
    if ref is None:
        return None
    return {"kind": ref.kind.value, "namespace": ref.namespace, "name": ref.name}


def _build(build: BuildContext | None) -> JSON:
    if build is None:
        return None
    return {
        "url": build.url,
        "commit": build.commit,
        "tree": build.tree,
        "path": build.path,
        "dockerfile": build.dockerfile,
        "buildArgs": dict(build.build_args),
        "submodules": build.submodules,
    }


def _read_build(value: Mapping[str, Any]) -> BuildContext:
    return BuildContext(
        url=value["url"],
        commit=Commit(value["commit"]),
        tree=TreeId(value["tree"]),
        path=value["path"],
        dockerfile=value["dockerfile"],
        build_args=value["buildArgs"],
        submodules=value["submodules"],
    )


def _resources(resources: Resources) -> JSON:
    gpu = resources.gpu
    return _present(
        {
            "cpu": resources.cpu,
            "memory": resources.memory,
            "disk": resources.disk,
            "shm": resources.shm,
            "gpu": {"type": gpu.type, "count": gpu.count} if gpu else None,
            "nodes": resources.nodes,
        }
    )


def _read_resources(value: Mapping[str, Any]) -> Resources:
    return Resources(
        cpu=value.get("cpu"),
        memory=value.get("memory"),
        disk=value.get("disk"),
        shm=value.get("shm"),
        gpu=_maybe(value.get("gpu"), lambda gpu: Gpu(gpu["type"], gpu["count"])),
        nodes=value["nodes"],
    )


def _mounted(mounted: Mounted | None) -> JSON:
    if mounted is None:
        return None
    return _present({"key": mounted.key, "url": mounted.url, "cluster": mounted.cluster})


def _read_mounted(value: Mapping[str, Any]) -> Mounted:
    return Mounted(TaskKey(value["key"]), value["url"], value.get("cluster"))


def _maybe(value: Mapping[str, Any] | None, read: Callable[[Mapping[str, Any]], T]) -> T | None:
    return None if value is None else read(value)


def _present(document: dict[str, Any]) -> dict[str, JSON]:
    return {name: value for name, value in document.items() if value is not None}
