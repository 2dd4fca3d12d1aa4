"""What a manifest refers to."""

from __future__ import annotations

from typing import TypeAlias

from reconciler.manifests.schema import ManifestDocument, ModelManifest, Reference
from reconciler.manifests.yaml_nodes import Path
from reconciler.types import ForeignRef, Kind, ObjectRef

#: The fields that hold references.
BASE_FIELD: Path = ("spec", "source", "model")
DATASET_FIELD: Path = ("spec", "training", "dataset")

#: The object, the reference, and the field it is in.
Referred: TypeAlias = tuple[ObjectRef | ForeignRef, Reference, Path]


def references(ref: ObjectRef, document: ManifestDocument) -> tuple[Referred, ...]:
    """All references of an object, in a fixed order."""
    if not isinstance(document, ModelManifest):
        return ()
    found: list[tuple[Kind, Reference | None, Path]] = [
        (Kind.MODEL, document.spec.source.model, BASE_FIELD)
    ]
    if document.spec.training is not None:
        found.append((Kind.DATASET, document.spec.training.dataset, DATASET_FIELD))
    return tuple(
        (_target(ref, kind, reference), reference, path)
        for kind, reference, path in found
        if reference is not None
    )


def _target(ref: ObjectRef, kind: Kind, reference: Reference) -> ObjectRef | ForeignRef:
    """The object that one of its references means."""
    target = ObjectRef(kind, reference.namespace or ref.namespace, reference.name)
    return target if reference.cluster is None else ForeignRef(reference.cluster, target)
