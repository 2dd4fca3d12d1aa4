"""Short ways to read text as the product does, and to look at what it found."""

from __future__ import annotations

import json
from typing import Any

from reconciler.manifests.collection import Collection, collect
from reconciler.manifests.loader import FileContent, Manifest, read_file
from reconciler.types import Problem


def read(text: str, path: str = "m.yaml") -> FileContent:
    return read_file(path, text.encode("utf-8", "surrogateescape"))


def only(text: str) -> Manifest:
    content = read(text)
    assert content.problems == ()
    (manifest,) = content.manifests
    return manifest


def problem(text: str) -> Problem:
    content = read(text)
    assert content.manifests == ()
    (found,) = content.problems
    return found


def said(text: str) -> list[tuple[str, str]]:
    """Field and message of everything that is wrong."""
    return [(p.field, p.message) for p in read(text).problems]


def together(complete: bool = True, clusters: tuple[str, ...] = (), **files: str) -> Collection:
    contents = [read(text, f"{name}.yaml") for name, text in files.items()]
    return collect(contents, complete=complete, clusters=clusters)


def model(name: str = "m", **spec: Any) -> dict[str, Any]:
    """A Model; ``source`` unless given is a Git repository."""
    spec.setdefault("source", {"git": {"url": "https://example.com/m"}})
    return {"kind": "Model", "metadata": {"name": name}, "spec": spec}


def dataset(name: str = "d", **spec: Any) -> dict[str, Any]:
    spec.setdefault("source", {"bucket": {"url": "s3://data/d"}})
    return {"kind": "Dataset", "metadata": {"name": name}, "spec": spec}


def yaml(*documents: dict[str, Any]) -> str:
    """JSON is YAML; one line for each document."""
    return "\n---\n".join(json.dumps(document) for document in documents) + "\n"
