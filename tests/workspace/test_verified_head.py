"""An unverified head is not in force: the last verified commit is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pygit2
import pytest

from reconciler.git import MOST_COMMITS, Repository, SignatureVerifier
from reconciler.reasons import ReasonCode
from reconciler.types import Commit
from reconciler.workspace import HeadVerification, RefusedCommit, VerifiedHead
from reconciler.workspace.verified_head import UnverifiedError
from tests.git.signers import Signer, commit, ssh_signer


class Branch:
    """A clone, its allowed signer, and commits that are signed or not."""

    def __init__(self, root: Path) -> None:
        self.work = root / "work"
        subprocess.run(["git", "init", "--quiet", "-b", "main", str(self.work)], check=True)
        self.alice = ssh_signer(root, "alice")
        self.mallory = ssh_signer(root, "mallory")
        (root / "signers").write_text(f"alice {self.alice.key}\n")
        self.home = root

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.work, check=True, capture_output=True)

    def at(self, rev: str) -> Commit:
        out = subprocess.check_output(["git", "rev-parse", rev], cwd=self.work, text=True)
        return Commit(out.strip())

    def signed(self) -> Commit:
        return Commit(commit(self.work, "Sign", self.alice))

    def unsigned(self, signer: Signer | None = None) -> Commit:
        return Commit(commit(self.work, "Change", signer))

    def verification(self, mode: str = "head") -> HeadVerification:
        repository = Repository(pygit2.Repository(str(self.work / ".git")))
        verifier = SignatureVerifier(signers=self.home / "signers", home=self.home / "home")
        return HeadVerification(repository, verifier, "every" if mode == "every" else "head")


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    return Branch(tmp_path)


def refused(found: VerifiedHead) -> ReasonCode | None:
    return found.refused.reason.code if found.refused is not None else None


def test_a_signed_head_is_in_force(branch: Branch) -> None:
    branch.unsigned()
    head = branch.signed()
    assert branch.verification().resolve(head, None) == VerifiedHead(head)


def test_an_unsigned_head_leaves_the_last_verified_commit_in_force(branch: Branch) -> None:
    good, head = branch.signed(), branch.unsigned()
    for last in (good, None):
        found = branch.verification().resolve(head, last)
        assert (found.commit, refused(found)) == (good, ReasonCode.COMMIT_UNSIGNED)


def test_a_head_of_a_foreign_signer_is_refused(branch: Branch) -> None:
    good, head = branch.signed(), branch.unsigned(branch.mallory)
    found = branch.verification().resolve(head, good)
    assert (found.commit, refused(found)) == (good, ReasonCode.SIGNER_UNKNOWN)


def test_a_recorded_commit_is_believed_only_if_it_is_verified_itself(branch: Branch) -> None:
    good, forged = branch.signed(), branch.unsigned()
    head = branch.unsigned()
    assert branch.verification().resolve(head, forged).commit == good
    gone = Commit("0" * 40)
    assert branch.verification().resolve(head, gone).commit == good


def test_a_branch_without_any_signed_commit_is_not_synced(branch: Branch) -> None:
    branch.unsigned()
    head = branch.unsigned()
    with pytest.raises(UnverifiedError, match="none of the last 2 commits"):
        branch.verification().resolve(head, None)


def test_what_is_signed_on_a_merged_branch_alone_is_not_in_force(branch: Branch) -> None:
    good = branch.signed()
    branch.git("checkout", "-q", "-b", "side")
    branch.signed()
    branch.git("checkout", "-q", "main")
    branch.git("merge", "-q", "--no-ff", "--no-gpg-sign", "-m", "Merge", "side")
    head = Commit(
        subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=branch.work, text=True).strip()
    )
    assert branch.verification().resolve(head, None).commit == good


def test_every_new_commit_has_to_be_signed_with_mode_every(branch: Branch) -> None:
    good, bad, head = branch.signed(), branch.unsigned(), branch.signed()
    assert branch.verification("head").resolve(head, good).commit == head
    found = branch.verification("every").resolve(head, good)
    assert found.commit == good
    assert found.refused is not None
    assert found.refused.commit == bad
    assert bad[:12] in str(found.refused)


def test_merged_commits_have_to_be_signed_with_mode_every(branch: Branch) -> None:
    good = branch.signed()
    branch.git("checkout", "-q", "-b", "side")
    bad = branch.unsigned()
    branch.git("checkout", "-q", "main")
    branch.signed()
    branch.git("merge", "-q", "--no-ff", "--no-gpg-sign", "-m", "Merge", "side")
    head = branch.signed()
    found = branch.verification("every").refusal(head, good)
    assert found is not None
    assert found.commit in {bad, branch.at(f"{head}^")}


def test_commits_that_a_shallow_history_has_not_got_are_not_taken_for_signed(
    branch: Branch, tmp_path: Path
) -> None:
    good = branch.signed()
    branch.unsigned()
    head = branch.signed()
    branch.git("tag", "good", good)
    whole, branch.work = branch.work, tmp_path / "shallow"
    branch.work.mkdir()
    branch.git("init", "-q")
    branch.git("fetch", "-q", "--depth=1", whole.as_uri(), "refs/heads/main", "refs/tags/good")
    assert branch.verification("head").refusal(head, good) is None
    found = branch.verification("every").refusal(head, good)
    assert found is not None
    assert found.reason.code is ReasonCode.HISTORY_SHALLOW
    branch.git("fetch", "-q", "--unshallow", whole.as_uri(), "refs/heads/main")
    found = branch.verification("every").refusal(head, good)
    assert found is not None
    assert found.reason.code is ReasonCode.COMMIT_UNSIGNED


def test_too_many_commits_at_once_are_refused_with_mode_every(
    branch: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.workspace.verified_head.MOST_COMMITS", 2)
    assert MOST_COMMITS > 2
    good = branch.signed()
    new = [branch.signed() for _ in range(3)]
    assert branch.verification("every").refusal(new[1], good) is None
    found = branch.verification("every").refusal(new[2], good)
    assert isinstance(found, RefusedCommit)
    assert found.reason.code is ReasonCode.TOO_MANY_COMMITS
