"""Pod templates of the configuration, merged into what is rendered.

The rules are those of a strategic merge patch, as far as pods need them:

* A mapping is merged key by key; null removes a key. Any other value replaces.
* Containers, init containers, volumes, variables, pull secrets, mounts and the like are merged by
  the field that identifies them (``name``, ``mountPath``, …); new ones are appended. The container
  of the command, or of the build, is called ``main``.
* Tolerations are appended where they are not there yet. Every other list replaces.

What makes a run a run cannot be changed; :func:`problems` says what that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from reconciler.engines.kubernetes.pod_parts import CONTAINER, ApiObject
from reconciler.types import GROUP

#: Fields that identify the items of a list, by the list's name.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "protocol"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "resourceClaims": ("name",),
}
_APPENDED = frozenset({"tolerations"})

_OURS_IN_SPEC = frozenset(
    {"restartPolicy", "activeDeadlineSeconds", "hostname", "subdomain", "ephemeralContainers"}
)
_OURS_IN_MAIN = frozenset({"image", "command", "args", "stdin", "tty", "terminationMessagePath"})


def merge(base: ApiObject, patch: Mapping[str, Any]) -> ApiObject:
    """The base with the patch over it. Neither is changed."""
    merged = dict(base)
    for name, value in patch.items():
        there = merged.get(name)
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(there, Mapping):
            merged[name] = merge(dict(there), value)
        elif isinstance(value, list) and isinstance(there, list):
            merged[name] = _merge_lists(name, there, value)
        else:
            merged[name] = deepcopy(value)
    return merged


def _merge_lists(name: str, base: Sequence[Any], patch: Sequence[Any]) -> list[Any]:
    if name in _APPENDED:
        return [*base, *(deepcopy(item) for item in patch if item not in base)]
    fields = _KEYS.get(name)
    if fields is None:
        return deepcopy(list(patch))
    merged = list(base)
    places = {_identity(item, fields): place for place, item in enumerate(merged)}
    for item in patch:
        place = places.get(_identity(item, fields))
        if place is None:
            merged.append(deepcopy(item))
        else:
            merged[place] = merge(merged[place], item)
    return merged


def _identity(item: Mapping[str, Any], fields: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(item.get(field) for field in fields)


def problems(template: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find the fields that a template may not set: paths and messages."""
    for name, value in template.items():
        if name not in ("metadata", "spec"):
            yield name, "expected metadata and spec, as in a pod template"
        elif not isinstance(value, Mapping):
            yield name, "expected a mapping"
    yield from _metadata_problems(_mapping(template, "metadata"))
    spec = _mapping(template, "spec")
    for name in sorted(_OURS_IN_SPEC & spec.keys()):
        yield f"spec.{name}", "is the reconciler's to say"
    for name, fields in _KEYS.items():
        yield from _list_problems(f"spec.{name}", spec.get(name, []), fields)
    containers = spec.get("containers", [])
    for container in containers if isinstance(containers, list) else []:
        if isinstance(container, Mapping) and container.get("name") == CONTAINER:
            for name in sorted(_OURS_IN_MAIN & container.keys()):
                yield f"spec.containers.{CONTAINER}.{name}", "is the manifest's to say"


def _metadata_problems(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in metadata:
        if name not in ("labels", "annotations"):
            yield f"metadata.{name}", "expected labels and annotations"
    for kind in ("labels", "annotations"):
        for name in _mapping(metadata, kind):
            if str(name).startswith((f"{GROUP}/", "batch.kubernetes.io/")):
                yield f"metadata.{kind}.{name}", "is the reconciler's to say"


def _list_problems(path: str, items: Any, fields: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not isinstance(items, list):
        yield path, "expected a list"
        return
    for place, item in enumerate(items):
        if not isinstance(item, Mapping) or fields[0] not in item:
            yield f"{path}[{place}]", f"expected a mapping with {fields[0]}"
            continue
        for name, inner in _KEYS.items():
            if name in item and path in ("spec.containers", "spec.initContainers"):
                yield from _list_problems(f"{path}[{place}].{name}", item[name], inner)


def _mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}
