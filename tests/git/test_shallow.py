"""Shallow clones on the other side, and under ``plan``: what is not there is no damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import GitError
from reconciler.git.local_repository import LocalRepository
from reconciler.types import GitSource, ResolvedSource
from tests.e2e.site import git
from tests.git.copies import mirror_at, sources_at, status_branch_at
from tests.git.history import History
from tests.git.remotes import make_bare


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The last two commits of five, in a clone with a work tree."""
    history = History(make_bare(tmp_path, "whole.git"))
    for number in range(5):
        history.commit({"a.yaml": str(number), "old.yaml": ""})
    url, folder = history.path.as_uri(), tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=2", url, str(folder))
    return folder


def test_a_shallow_clone_can_be_the_manifest_repository(clone: Path, tmp_path: Path) -> None:
    mirror = mirror_at(tmp_path / "mirror.git", clone.as_uri())
    head = mirror.fetch()
    assert set(mirror.list_manifests(head)) == {"a.yaml", "old.yaml"}
    oldest = git(clone, "rev-parse", "HEAD^").strip()
    assert mirror.last_changed(head, {"a.yaml", "old.yaml"}) == {"a.yaml": head, "old.yaml": oldest}
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "More")
    assert mirror.fetch() != head
    status = status_branch_at(tmp_path / "status.git", clone.as_uri())
    assert status.push({"a": b"1"}, "One") is not None


def test_a_shallow_clone_can_be_a_source(clone: Path, tmp_path: Path) -> None:
    sources = sources_at(tmp_path / "sources")
    tip = GitSource(url=clone.as_uri())
    before = GitSource(url=clone.as_uri(), commit=git(clone, "rev-parse", "HEAD^").strip())
    found = sources.resolve([tip, before])
    assert all(isinstance(where, ResolvedSource) for where in found.values()), found


def test_a_shallow_clone_is_read_where_it_stands(clone: Path) -> None:
    repository = LocalRepository.open(clone)
    head = repository.resolve("HEAD")
    assert set(repository.list_manifests(head)) == {"a.yaml", "old.yaml"}
    oldest = repository.resolve("HEAD^")
    assert repository.last_changed(head, {"old.yaml"}) == {"old.yaml": oldest}
    with pytest.raises(GitError, match="is the clone deep enough"):
        repository.resolve("HEAD~3")


def test_another_branch_at_a_commit_of_this_one_hides_no_history(tmp_path: Path) -> None:
    """Its tip is fetched alone, after which everything before would be missing."""
    history = History(make_bare(tmp_path))
    known = [history.commit({"a.yaml": str(number)}) for number in range(4)]
    mirror = mirror_at(tmp_path / "mirror.git", history.url, others=["status"])
    mirror.fetch()
    point(history, known[2])
    head = mirror.fetch()
    assert mirror.fetch_tips() == {"status": known[2]}
    assert mirror.history(head, limit=10) == known[::-1]
    # First on the other branch, then in this one as well.
    history.repository.references.create("refs/heads/new", known[3])
    known += [history.commit({"a.yaml": str(number)}, branch="new") for number in range(4, 8)]
    point(history, known[6])
    mirror.fetch()
    assert mirror.fetch_tips() == {"status": known[6]}
    history.repository.references.create("refs/heads/main", known[7], force=True)
    head = mirror.fetch()
    assert mirror.history(head, limit=10) == known[::-1]
    assert mirror.shallow_in(head) is None


def point(history: History, commit: str) -> None:
    """Move the other branch to a commit."""
    history.repository.references.create("refs/heads/status", commit, force=True)
