"""What is proposed is fetched apart, within bounds, and merged without being checked out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.errors import GitError
from reconciler.git.pull_request_refs import Conflict, Proposals
from reconciler.types import Commit
from tests.e2e.site import Site, git
from tests.git.copies import NOBODY


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = Site(tmp_path)
    found.write("a.yaml", "one\ntwo\nthree\n")
    found.write("b.yaml", "b\n")
    found.push()
    return found


def main(site: Site) -> Commit:
    return Commit(git(site.work, "rev-parse", "main").strip())


def proposals(site: Site, tip: Commit, *, largest: int = 1 << 20) -> Proposals:
    """Those to the branch as it is at this commit."""
    found = Proposals(
        site.root / "git/proposals.git",
        site.remote.as_uri(),
        branch="main",
        credentials=NOBODY,
        largest=largest,
    )
    found.fetch_base(tip)
    return found


def propose(site: Site, number: int, **files: str) -> Commit:
    """A pull request off main; its head is only where forges keep them."""
    git(site.work, "checkout", "--quiet", "-B", f"pr-{number}", "main")
    for name, text in files.items():
        site.write(f"{name}.yaml", text)
    head = site.propose(f"refs/pull/{number}/head")
    git(site.work, "checkout", "--quiet", "main")
    return Commit(head)


def test_a_head_is_merged_into_what_the_branch_is_now(site: Site) -> None:
    head = propose(site, 7, a="ONE\ntwo\nthree\n")
    site.write("b.yaml", "moved on\n")
    tip = Commit(site.push())
    found = proposals(site, tip)
    assert found.fetch_head("refs/pull/7/head") == head
    merged = found.merged(tip, head)
    assert isinstance(merged, str)
    assert found.read_file(merged, "a.yaml") == b"ONE\ntwo\nthree\n"
    assert found.read_file(merged, "b.yaml") == b"moved on\n"
    assert found.merged(tip, head) == merged


def test_what_is_merged_or_up_to_date_needs_no_merge(site: Site) -> None:
    head = propose(site, 7, b="better\n")
    tip = main(site)
    found = proposals(site, tip)
    assert found.fetch_head("refs/pull/7/head") == head
    assert found.merged(tip, head) == head
    assert found.merged(head, tip) == head


def test_a_conflict_names_the_files(site: Site) -> None:
    head = propose(site, 7, a="one\nTWO\nthree\n")
    site.write("a.yaml", "one\n2\nthree\n")
    tip = Commit(site.push())
    found = proposals(site, tip)
    found.fetch_head("refs/pull/7/head")
    assert found.merged(tip, head) == Conflict(("a.yaml",))


def test_one_that_has_nothing_in_common_is_refused(site: Site) -> None:
    git(site.work, "checkout", "--quiet", "--orphan", "other")
    git(site.work, "commit", "--quiet", "--message", "Another beginning")
    git(site.work, "push", "--quiet", "origin", "HEAD:refs/pull/7/head")
    tip = main(site)
    found = proposals(site, tip)
    with pytest.raises(GitError, match="no commit in common"):
        found.merged(tip, found.fetch_head("refs/pull/7/head"))


def test_one_that_brings_too_much_is_not_taken(site: Site) -> None:
    propose(site, 7, large=os.urandom(300_000).hex())
    small = propose(site, 8, small="fine\n")
    found = proposals(site, main(site), largest=100_000)
    with pytest.raises(GitError):
        found.fetch_head("refs/pull/7/head")
    assert found.fetch_head("refs/pull/8/head") == small
    assert not list((site.root / "git/proposals.git/objects/pack").glob("tmp_*"))


def test_what_closed_ones_have_left_is_dropped_once_it_is_much(site: Site) -> None:
    tip = main(site)
    found = proposals(site, tip, largest=100_000)
    packs = site.root / "git/proposals.git/objects/pack"
    for number in range(7):
        propose(site, number, large=os.urandom(40_000).hex())
        found.fetch_head(f"refs/pull/{number}/head")
        found.keep_only(set())
    assert sum(pack.stat().st_size for pack in packs.glob("*.pack")) <= 500_000
    assert found.fetch_head("refs/pull/6/head")
    found.fetch_base(tip)
    assert found.has(tip)


def test_what_is_closed_is_forgotten(site: Site) -> None:
    tip = main(site)
    found = proposals(site, tip)
    for number in (7, 8):
        propose(site, number, a=f"{number}\n")
        found.fetch_head(f"refs/pull/{number}/head")
    found.keep_only({"refs/pull/8/head"})
    refs = git(site.root / "git/proposals.git", "for-each-ref", "--format=%(refname)").split()
    assert refs == ["refs/heads/main", "refs/proposals/pull/8/head"]
