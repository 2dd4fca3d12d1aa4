"""The published form of the manifests: a JSON Schema per kind, from the classes that validate."""

from __future__ import annotations

from pydantic import BaseModel

from reconciler.manifests.schema import DatasetManifest, ModelManifest
from reconciler.types import GROUP, JSON, Kind

_CLASSES: dict[Kind, type[BaseModel]] = {Kind.MODEL: ModelManifest, Kind.DATASET: DatasetManifest}


def json_schema(kind: Kind) -> dict[str, JSON]:
    """The schema of a kind, in the 2020-12 dialect."""
    schema: dict[str, JSON] = _CLASSES[kind].model_json_schema(by_alias=True, mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://{GROUP}/schemas/{kind.value.lower()}.v1.json",
        **schema,
    }
