"""Submodules of a commit, read from its ``.gitmodules`` and its gitlinks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from reconciler.git.command import environment, run_git
from reconciler.git.repository import entry_at
from reconciler.types import Commit

_LARGEST = 64 << 10
_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Submodule:
    """A submodule; ``path`` is its place within the exported folder."""

    path: str
    url: str
    commit: Commit


def submodules(repository: pygit2.Repository, commit: Commit, folder: str) -> list[Submodule]:
    """Return the submodules in a folder of a commit.

    One without a URL is left out.
    """
    found = repository[commit]
    assert isinstance(found, pygit2.Commit)
    entry = entry_at(found.tree, ".gitmodules")
    if not isinstance(entry, pygit2.Blob) or entry.size > _LARGEST:
        return []
    modules = []
    for path, url in _listed(Path(repository.path), commit):
        inside = _inside(path, folder)
        link = entry_at(found.tree, path) if inside else None
        if inside and link is not None and link.filemode == FileMode.COMMIT:
            modules.append(Submodule(inside, url, Commit(str(link.id))))
    return modules


def _inside(path: str, folder: str) -> str | None:
    if not folder:
        return path
    prefix = f"{folder}/"
    return path.removeprefix(prefix) if path.startswith(prefix) else None


def _listed(repository: Path, commit: Commit) -> list[tuple[str, str]]:
    """Return path and URL of each submodule, as read by ``git config``.

    Git itself handles quotes and comments, and the last of several values counts. It follows no
    includes in a blob.
    """
    options = ["--null", "--get-regexp", r"^submodule\..*\.(path|url)$"]
    done = run_git(
        [f"--git-dir={repository}", "config", f"--blob={commit}:.gitmodules", *options],
        env=environment(repository),
        timeout=_TIMEOUT,
    )
    if done.code != 0:  # there is none, or it is no configuration
        return []
    modules: dict[str, dict[str, str]] = {}
    for entry in done.out.split("\0"):
        key, _, value = entry.partition("\n")
        name, _, variable = key.rpartition(".")
        modules.setdefault(name, {})[variable] = value
    return [
        (module["path"], module["url"])
        for module in modules.values()
        if module.get("path") and module.get("url")
    ]
