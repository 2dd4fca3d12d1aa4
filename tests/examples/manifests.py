"""The example manifests, read as the product reads them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from reconciler.manifests.collection import Collection, collect
from reconciler.manifests.loader import read_file
from reconciler.manifests.schema import ManifestDocument

EXAMPLES = Path(__file__).resolve().parents[2] / "examples-repo"


@cache
def collection(folder: Path = EXAMPLES) -> Collection:
    """Every YAML file of a repository that is not hidden, with its configuration among them."""
    files = [file for file in folder.rglob("*.yaml") if file.is_file()]
    return collect([read_file(str(f.relative_to(folder)), f.read_bytes()) for f in files])


def manifests() -> dict[str, ManifestDocument]:
    """Every object by its name, which no two of them share."""
    objects = collection().objects
    found = {ref.name: manifest.document for ref, manifest in objects.items()}
    assert len(found) == len(objects)
    return found
