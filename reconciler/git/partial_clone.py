"""Fetches of objects that a partial clone has left out.

CI systems clone with ``--filter``. Git fetches such objects by itself; libgit2 takes them for lost.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pygit2

from reconciler.errors import GitError
from reconciler.git.command import user_environment
from reconciler.git.errors import DamagedError
from reconciler.urls import redact

#: Seconds for a fetch.
_TIMEOUT = 600.0
_ID = re.compile(r"\b(?:[0-9a-f]{40}|[0-9a-f]{64})\b")
_PROMISOR = re.compile(r"remote\.(?P<remote>.+)\.promisor")


def promisor(repository: pygit2.Repository) -> str | None:
    """Return the remote that completes a partial clone; else None."""
    for entry in repository.config:
        found = _PROMISOR.fullmatch(entry.name)
        if found is not None and entry.value == "true":
            return found["remote"]
    return None


def missing_object(error: DamagedError) -> str | None:
    """Return the id of the object that a read has missed."""
    found = _ID.search(str(error.__cause__))
    return found[0] if found is not None else None


def fetch_promised(path: Path, remote: str, objects: Iterable[str]) -> None:
    """Fetch objects by their ids, with this user's Git configuration. Raises GitError."""
    options = ["--no-tags", "--no-write-fetch-head", "--recurse-submodules=no", "--quiet"]
    command = ["git", f"--git-dir={path}", "-c", "fetch.negotiationAlgorithm=noop", "fetch"]
    try:
        done = subprocess.run(
            [*command, remote, *options, "--filter=blob:none", "--stdin"],
            env=user_environment(),
            input="".join(f"{each}\n" for each in objects),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"{_cannot(path, remote)}: {error}") from error
    if done.returncode != 0:
        said = redact(done.stderr.strip())[-300:]
        raise GitError(f"{_cannot(path, remote)}: {said}")


def _cannot(path: Path, remote: str) -> str:
    return (
        f"{path} is a partial clone, and what it has left out cannot be fetched from {remote}; "
        "clone without --filter, or where that remote can be read"
    )
