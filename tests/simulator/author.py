"""The users who push manifests, and what they have asked for at each commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from tests.simulator.remotes import Remotes
from tests.simulator.site import MAIN, MANIFESTS, SOURCE
from tests.soak.repository import Manifest, Repository, cluster_manifests


@dataclass(frozen=True)
class Head:
    """One commit: its objects in their last valid form, and the versions of the code."""

    commit: str
    objects: Mapping[str, Manifest]
    code: Mapping[str, int]
    source: int

    def of(self, title: str) -> Manifest | None:
        """The object of a name."""
        return next((each for each in self.objects.values() if each.title == title), None)

    def inputs(self, title: str) -> str:
        """Everything that decides the runs of an object."""
        found = self.of(title)
        if found is None:
            return ""
        git = found.source.get("git", {})
        version = self.source if git.get("url", ".") != "." else self.code
        upstream = [self.inputs(self._title(name)) for name in (found.base, found.dataset) if name]
        return json.dumps([repr(found), version if git else 0, upstream])

    def _title(self, name: str) -> str:
        return self.objects[name].title if name in self.objects else name


@dataclass
class Author:
    """Pushes to ``remotes``; ``heads`` are all commits so far, the oldest first."""

    remotes: Remotes
    repository: Repository = field(
        default_factory=lambda: Repository.of(cluster_manifests(), "/ledger")
    )
    heads: list[Head] = field(default_factory=list)
    source: int = 0
    _valid: dict[str, Manifest] = field(default_factory=dict)

    def begin(self) -> None:
        self.remotes.make(MANIFESTS)
        self.remotes.make(SOURCE)
        self.push_source(0)
        self.push("begin")

    def change(self, chance: Random) -> str:
        """Change something, and push it; returns what."""
        self.repository.remember()
        done = self.repository.change(chance)
        self.push(done)
        return done

    def push(self, message: str) -> None:
        files = {path: text.encode() for path, text in self.repository.files().items()}
        commit = self.remotes.commit(MANIFESTS, MAIN, files, message)
        for name, each in self.repository.objects.items():
            if not each.present:
                self._valid.pop(name, None)
            elif each.broken is None:
                self._valid[name] = each
        code = dict(self.repository.code)
        self.heads.append(Head(commit, dict(self._valid), code, self.source))

    def push_source(self, version: int) -> None:
        self.source = version
        files = {f"{name}.sh": f"# {version}\n".encode() for name in ("load", "train")}
        self.remotes.commit(SOURCE, MAIN, files, f"version {version}")
        if self.heads:
            last = self.heads[-1]
            self.heads.append(Head(last.commit, last.objects, last.code, version))

    def index(self, commit: str) -> int | None:
        """The first place of a commit among the heads."""
        return next((n for n, head in enumerate(self.heads) if head.commit == commit), None)

    def changed_since(self, title: str, index: int) -> bool:
        """Return whether an object has asked for other runs since some head."""
        before = self.heads[index].inputs(title)
        return any(head.inputs(title) != before for head in self.heads[index + 1 :])
