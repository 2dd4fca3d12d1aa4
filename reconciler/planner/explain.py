"""Why a plan does what it does, in a reviewer's words: which field, which source, which base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from reconciler.manifests.collect import references
from reconciler.manifests.read import Manifest
from reconciler.planner.desire import Desired
from reconciler.types import JSON, ObjectRef

_SHOWN_FIELDS = 3
_SHOWN_VALUE = 40


def explain(
    ref: ObjectRef,
    *,
    base: Mapping[ObjectRef, Desired],
    head: Mapping[ObjectRef, Desired],
) -> str | None:
    """Why an object's keys differ between two commits; None where they do not."""
    item, before = head.get(ref), base.get(ref)
    if item is None:
        return None
    if before is None:
        return "new"
    changed = before.manifest.digest != item.manifest.digest
    changes = list(changed_fields(before.manifest, item.manifest)) if changed else []
    if changes:
        more = len(changes) - _SHOWN_FIELDS
        shown = ", ".join(changes[:_SHOWN_FIELDS])
        return f"{shown} and {more} more" if more > 0 else shown
    if before.source and item.source and before.source.resolved.tree != item.source.resolved.tree:
        where = item.source.request.path or item.source.request.url
        return f"the source {where} changed"
    for upstream, _, _ in references(item.manifest):
        theirs, was = head.get(upstream), base.get(upstream)
        if theirs is None or was is None or theirs.key != was.key or theirs.key is None:
            return f"because {upstream} changes"
    return None


def changed_fields(before: Manifest, after: Manifest) -> Iterator[str]:
    """``training.params.epochs: 3 → 5`` for each field of the spec that differs."""
    old, new = (
        _flat(m.document.spec.model_dump(mode="json", by_alias=True)) for m in (before, after)
    )
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name}: {_shown(old.get(name))} → {_shown(new.get(name))}"


def _flat(value: JSON, prefix: str = "") -> dict[str, JSON]:
    if isinstance(value, dict):
        flat: dict[str, JSON] = {}
        for name, inner in value.items():
            flat |= _flat(inner, f"{prefix}.{name}" if prefix else name)
        return flat
    return {} if value is None else {prefix: value}


def _shown(value: JSON) -> str:
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN_VALUE else f"{text[:_SHOWN_VALUE]}…"
