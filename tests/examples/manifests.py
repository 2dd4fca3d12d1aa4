"""The example manifests, as the published classes read them."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from reconciler.manifests.schema import DatasetManifest, ModelManifest

EXAMPLES = Path(__file__).parents[2] / "examples-repo"


def manifests() -> dict[str, DatasetManifest | ModelManifest]:
    """Every object of the example repository by name."""
    found: dict[str, DatasetManifest | ModelManifest] = {}
    for file in sorted([*EXAMPLES.glob("datasets/*.yaml"), *EXAMPLES.glob("models/*.yaml")]):
        for document in YAML(typ="safe").load_all(file):
            for item in document["items"] if document["kind"] == "List" else [document]:
                kind = DatasetManifest if item["kind"] == "Dataset" else ModelManifest
                manifest = kind.model_validate(item)
                assert manifest.metadata.name not in found
                found[manifest.metadata.name] = manifest
    return found
