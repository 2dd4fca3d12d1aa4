"""Our own copies of repositories, opened with what most tests do not care about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconciler.git.credentials import CredentialTable
from reconciler.git.manifest_mirror import Mirror
from reconciler.git.sources import Sources
from reconciler.git.status_branch import StatusBranch

NOBODY = CredentialTable()
#: How a status branch is opened.
STATUS: dict[str, Any] = {
    "branch": "status",
    "credentials": NOBODY,
    "author_name": "Test",
    "author_email": "test@localhost",
}


def mirror_at(path: Path, url: str, **options: Any) -> Mirror:
    return Mirror.open(path, url, **{"branch": "main", "credentials": NOBODY, **options})


def status_branch_at(path: Path, url: str, **options: Any) -> StatusBranch:
    return StatusBranch(path, url, **{**STATUS, **options})


def sources_at(path: Path, **options: Any) -> Sources:
    return Sources(path, **{"credentials": NOBODY, "interval": 300.0, **options})
