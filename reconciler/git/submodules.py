"""The submodules of a commit, as its ``.gitmodules`` and its gitlinks say."""

from __future__ import annotations

import configparser
from dataclasses import dataclass

import pygit2
from pygit2.enums import FileMode

from reconciler.git.trees import entry_at
from reconciler.types import Commit

_LARGEST = 64 << 10


@dataclass(frozen=True, slots=True)
class Submodule:
    """A submodule at its place within the exported folder."""

    path: str
    url: str
    commit: Commit


def submodules(repository: pygit2.Repository, commit: Commit, folder: str) -> list[Submodule]:
    """The submodules inside a folder of a commit; one without a URL is left out."""
    found = repository[commit]
    assert isinstance(found, pygit2.Commit)
    entry = entry_at(found.tree, ".gitmodules")
    if not isinstance(entry, pygit2.Blob) or entry.size > _LARGEST:
        return []
    modules = []
    for path, url in _parse(entry.data.decode("utf-8", "replace")):
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


def _parse(text: str) -> list[tuple[str, str]]:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
    except configparser.Error:
        return []
    return [
        (section["path"], section["url"])
        for name, section in parser.items()
        if name.startswith("submodule") and section.get("path") and section.get("url")
    ]
