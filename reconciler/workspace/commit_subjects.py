"""Subjects of commits, from the copies of repositories of this installation."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.config import Setup
from reconciler.git import GitError, LocalRepository
from reconciler.types import Commit

#: Copies that are looked through for a commit, and subjects that are remembered.
MOST_COPIES, MOST_KNOWN = 100, 10_000
#: Seconds until a commit that no copy had is looked for again.
MISSED = 60.0


@dataclass(slots=True)
class CommitSubjects:
    """Subjects of the commits of manifests and of sources.

    The copy of another repository has the commits that were looked up, and nothing of their
    history. ``folder`` has the copies; it need not be there. They are opened for what is neither
    known nor was missed in the last minute.
    """

    folder: Path
    _known: dict[Commit, str] = field(default_factory=dict)
    _missed: dict[Commit, float] = field(default_factory=dict)

    @classmethod
    def from_setup(cls, setup: Setup) -> CommitSubjects:
        """Return the subjects that an installation on this machine knows."""
        return cls(setup.root / "git")

    def of(self, commits: Collection[Commit]) -> Mapping[Commit, str]:
        """Return the known subjects of commits."""
        now = time.monotonic()
        # Several threads may ask at a time: what they read here is not emptied meanwhile.
        if len(self._known) > MOST_KNOWN:
            self._known = {}
        if len(self._missed) > MOST_KNOWN:
            self._missed = {}
        known, missed = self._known, self._missed
        missing = {commit for commit in commits if commit not in known}
        missing = {commit for commit in missing if now >= missed.get(commit, now)}
        for path in self._copies() if missing else ():
            try:
                copy = LocalRepository.open(path)
                found = {commit: copy.subject(commit) for commit in missing if copy.has(commit)}
            except GitError:  # damaged, another user's, or just made anew
                continue
            known.update(found)
            missing -= found.keys()
            if not missing:
                break
        missed.update(dict.fromkeys(missing, now + MISSED))
        return {commit: known[commit] for commit in commits if commit in known}

    def _copies(self) -> Iterator[Path]:
        """Yield the manifests' repository, then the sources'."""
        yield self.folder / "manifests.git"
        yield from sorted((self.folder / "sources").glob("*.git"))[:MOST_COPIES]
