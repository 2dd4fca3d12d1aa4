"""Files of a repository that may hold manifests."""

from __future__ import annotations

IGNORE_FILE = ".reconcilerignore"
SUFFIXES = (".yaml", ".yml", ".json")


def is_manifest_path(path: str) -> bool:
    """Return whether a path has the suffix of a manifest file."""
    return path.endswith(SUFFIXES)
