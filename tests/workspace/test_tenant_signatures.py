"""Changes of a tenant's files need a signature of the tenant's signers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pygit2
import pytest

from reconciler.git import Repository, SignatureVerifier
from reconciler.manifests import Tenant, Tenants
from reconciler.reasons import ReasonCode
from reconciler.types import Commit
from reconciler.workspace import HeadVerification, RefusedCommit, VerifiedHead
from reconciler.workspace.tenant_signatures import TenantSignatures
from reconciler.workspace.verified_head import UnverifiedError
from tests.git.signers import Signer, commit, ssh_signer

VISION = Tenant(
    name="vision", paths=("vision/**",), namespaces=("v",), releases=("releases/vision",)
)
SPEECH = Tenant(name="speech", paths=("speech/**",), namespaces=("s",))
OTHER = Tenant(name="other", paths=("other/**",), namespaces=("o",))


class Site:
    """A clone. ``vision`` is signed by alice, ``speech`` by bob; both sign for the repository.

    So does mallory, who is of no tenant with signers.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.work = root, root / "work"
        subprocess.run(["git", "init", "--quiet", "-b", "main", str(self.work)], check=True)
        self.alice, self.bob, self.mallory = (
            ssh_signer(root, name) for name in ("alice", "bob", "mallory")
        )
        self.allow("repository", self.alice, self.bob, self.mallory)
        self.allow("vision", self.alice)
        self.allow("speech", self.bob)
        self.start()

    def allow(self, whose: str, *signers: Signer) -> None:
        lines = [f"{signer.name} {signer.key}\n" for signer in signers]
        (self.root / f"{whose}.signers").write_text("".join(lines))

    def start(self, mode: str = "head", root: str = "") -> None:
        """A daemon that has just started."""
        repository = Repository(pygit2.Repository(str(self.work / ".git")))
        tenants = TenantSignatures(
            repository,
            Tenants((VISION, SPEECH, OTHER), root),
            {name: self.verifier(name) for name in ("vision", "speech")},
        )
        self.verification = HeadVerification(
            repository, self.verifier("repository"), "every" if mode == "every" else "head", tenants
        )

    def verifier(self, whose: str) -> SignatureVerifier:
        signers = self.root / f"{whose}.signers"
        return SignatureVerifier(signers=signers, home=self.root / "homes" / whose)

    def git(self, *arguments: str) -> None:
        env = {**os.environ, "GIT_CONFIG_COUNT": "0"}
        subprocess.run(
            ["git", "-c", "user.name=Dev", "-c", "user.email=d@test", *arguments],
            cwd=self.work, check=True, capture_output=True, env=env,
        )  # fmt: skip

    def change(self, signer: Signer | None, *paths: str) -> Commit:
        """Commit a change of some files."""
        for path in paths:
            file = self.work / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{file.read_text() if file.exists() else ''}x\n")
        return Commit(commit(self.work, "Change", signer))

    def merge(self, signer: Signer, branch: str, *options: str) -> Commit:
        self.git("merge", "--no-ff", "--no-commit", *options, branch)
        return self.change(signer)

    def branch(self, name: str, at: str = "HEAD") -> None:
        self.git("checkout", "-q", "-B", name, at)

    def begun(self) -> Commit:
        """Both tenants' first files, each signed by its own signer."""
        self.change(self.bob, "speech/m.yaml")
        return self.change(self.alice, "vision/m.yaml")

    def resolve(self, head: Commit, last: Commit | None) -> VerifiedHead:
        return self.verification.resolve(head, last)

    def refused(self, head: Commit, last: Commit | None) -> RefusedCommit | None:
        return self.resolve(head, last).refused


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_change_by_the_tenants_signer_is_in_force(site: Site) -> None:
    last = site.begun()
    head = site.change(site.alice, "vision/m.yaml")
    assert site.resolve(head, last) == VerifiedHead(head)


def test_a_change_by_another_signer_leaves_the_last_commit_in_force(site: Site) -> None:
    last = site.begun()
    bad = site.change(site.mallory, "vision/m.yaml")
    head = site.change(site.mallory, "other/m.yaml")
    for known in (last, None):
        found = site.resolve(head, known)
        assert found.commit == last
        assert found.refused is not None
        assert (found.refused.head, found.refused.commit) == (head, bad)
        assert found.refused.reason.code is ReasonCode.NOT_SIGNED_BY_TENANT
        assert dict(found.refused.reason.arguments) == {
            "path": "vision/m.yaml",
            "tenant": "vision",
            "cause": "SignerUnknown",
        }
        assert f"as its commit {bad[:12]}: vision/m.yaml of tenant vision" in str(found.refused)


def test_a_tenant_without_signers_is_any_signers(site: Site) -> None:
    last = site.begun()
    head = site.change(site.bob, "other/m.yaml", "README.md")
    assert site.resolve(head, last) == VerifiedHead(head)


def test_an_unsigned_change_below_a_signed_head_is_refused(site: Site) -> None:
    last = site.begun()
    site.change(None, "vision/m.yaml")
    found = site.refused(site.change(site.mallory, "other/m.yaml"), last)
    assert found is not None
    assert found.reason.arguments["cause"] == "CommitUnsigned"


def test_each_tenant_of_a_commit_needs_its_own_signer(site: Site) -> None:
    last = site.begun()
    found = site.refused(site.change(site.alice, "vision/m.yaml", "speech/m.yaml"), last)
    assert found is not None
    assert found.reason.arguments["tenant"] == "speech"


def test_the_tenants_signer_stands_for_what_is_below(site: Site) -> None:
    last = site.begun()
    site.change(site.mallory, "vision/m.yaml")
    head = site.change(site.alice, "vision/m.yaml")
    assert site.resolve(head, last) == VerifiedHead(head)
    site.start()
    assert site.resolve(head, head) == VerifiedHead(head), "after a restart as well"


def test_each_change_needs_the_signer_with_mode_every(site: Site) -> None:
    last = site.begun()
    site.start("every")
    bad = site.change(site.mallory, "vision/m.yaml")
    found = site.refused(site.change(site.alice, "vision/m.yaml"), last)
    assert found is not None
    assert found.commit == bad


@pytest.mark.parametrize("change", ["remove", "rename", "link", "mode", "release"])
def test_whatever_changes_a_tenants_files_needs_its_signer(site: Site, change: str) -> None:
    last = site.begun()
    file = site.work / "vision/m.yaml"
    if change == "remove":
        file.unlink()
    elif change == "rename":
        file.rename(site.work / "m.yaml")
    elif change == "link":
        (site.work / "vision/link").symlink_to("../other")
    elif change == "mode":
        file.chmod(0o755)
    found = site.refused(
        site.change(site.mallory, *(["releases/vision"] if change == "release" else [])), last
    )
    assert found is not None
    assert found.reason.code is ReasonCode.NOT_SIGNED_BY_TENANT
    assert found.reason.arguments["tenant"] == "vision"


def test_a_link_that_leads_elsewhere_is_a_change(site: Site) -> None:
    site.begun()
    link = site.work / "vision/link"
    link.symlink_to("a")
    last = site.change(site.alice)
    link.unlink()
    link.symlink_to("b")
    assert site.refused(site.change(site.mallory), last) is not None


def test_paths_are_below_the_folder_of_the_manifests(site: Site) -> None:
    site.start(root="prod")
    last = site.change(site.mallory, "vision/m.yaml")
    assert site.refused(site.change(site.mallory, "vision/m.yaml"), last) is None
    assert site.refused(site.change(site.mallory, "prod/vision/m.yaml"), last) is not None


# -- merges --------------------------------------------------------------------------------------


def test_a_merge_is_what_it_changes_of_its_first_parent(site: Site) -> None:
    last = site.begun()
    site.branch("side")
    site.change(site.alice, "vision/m.yaml")
    site.git("checkout", "-q", "main")
    site.change(site.bob, "speech/m.yaml")
    bad = site.merge(site.mallory, "side")
    found = site.refused(bad, last)
    assert found is not None
    assert (found.commit, found.reason.arguments["tenant"]) == (bad, "vision")
    site.git("reset", "--hard", "-q", "HEAD^")
    good = site.merge(site.alice, "side")
    assert site.resolve(good, last) == VerifiedHead(good)


def test_a_merge_of_another_tenants_branch_needs_no_signer_of_this_one(site: Site) -> None:
    last = site.begun()
    site.branch("side")
    site.change(None, "other/m.yaml")
    site.git("checkout", "-q", "main")
    site.change(site.alice, "vision/m.yaml")
    head = site.merge(site.mallory, "side")
    assert site.resolve(head, last) == VerifiedHead(head)


def test_a_merge_with_swapped_parents_takes_no_tenant_back(site: Site) -> None:
    """A fast-forward whose first parent is older than what is in force."""
    old = site.begun()
    last = site.change(site.alice, "vision/m.yaml")
    site.branch("side", old)
    site.change(site.mallory, "other/m.yaml")
    head = site.merge(site.mallory, last, "--strategy=ours")
    found = site.resolve(head, last)
    assert found.commit == last
    assert found.refused is not None
    assert found.refused.reason.arguments["path"] == "vision/m.yaml"


def test_a_force_push_takes_a_tenant_back_by_its_signer_alone(site: Site) -> None:
    old = site.begun()
    last = site.change(site.alice, "vision/m.yaml")
    site.branch("main", old)
    assert site.refused(site.change(site.mallory, "other/m.yaml"), last) is not None
    site.branch("main", old)
    head = site.change(site.alice, "other/m.yaml")
    assert site.resolve(head, last) == VerifiedHead(head)


def test_a_branch_that_merged_the_last_commit_may_follow_it(site: Site) -> None:
    old = site.begun()
    last = site.change(site.alice, "vision/m.yaml")
    site.branch("side", old)
    site.change(site.mallory, "other/m.yaml")
    site.merge(site.alice, last)
    head = site.change(site.mallory, "other/m.yaml")
    assert site.resolve(head, last) == VerifiedHead(head)


def test_a_pull_request_answers_for_its_own_commits_alone(site: Site) -> None:
    old = site.begun()
    base = site.change(site.alice, "vision/m.yaml")
    site.branch("proposal", old)
    fine = site.change(site.mallory, "other/m.yaml")
    bad = site.change(site.mallory, "speech/m.yaml")
    for mode in ("head", "every"):
        site.start(mode)
        assert site.verification.refusal(fine, base) is None
        found = site.verification.refusal(bad, base)
        assert found is not None
        assert found.commit == bad


# -- starts --------------------------------------------------------------------------------------


def test_a_recorded_commit_with_an_unsigned_change_is_not_believed(site: Site) -> None:
    last = site.begun()
    site.change(site.mallory, "vision/m.yaml")
    recorded = site.change(site.mallory, "other/m.yaml")
    assert site.resolve(recorded, recorded).commit == last


def test_a_first_commit_is_a_change_of_all_that_it_has(site: Site) -> None:
    site.change(site.mallory, "vision/m.yaml")
    with pytest.raises(UnverifiedError, match=r"vision/m\.yaml of tenant vision"):
        site.resolve(site.change(site.mallory, "other/m.yaml"), None)
    head = site.change(site.alice, "vision/new.yaml")
    assert site.resolve(head, None) == VerifiedHead(head)


def test_a_tenant_without_a_file_needs_no_signature(site: Site) -> None:
    head = site.change(site.mallory, "other/m.yaml")
    assert site.resolve(head, None) == VerifiedHead(head)


def test_a_signer_that_is_withdrawn_takes_its_changes_along(site: Site) -> None:
    first = site.begun()
    carol = ssh_signer(site.root, "carol")
    site.allow("repository", site.alice, site.bob, site.mallory, carol)
    site.allow("vision", site.alice, carol)
    head = site.change(carol, "vision/m.yaml")
    assert site.resolve(head, first) == VerifiedHead(head)
    site.allow("vision", site.alice)
    assert site.resolve(head, head).commit == first


def test_changes_are_looked_for_in_bounded_history(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last commit that is looked at counts as a change of all that it has."""
    monkeypatch.setattr("reconciler.workspace.tenant_signatures.MOST_WALKED", 2)
    assert site.refused(site.begun(), None) is None
    site.start()
    found = site.verification.refusal(site.change(site.alice, "other/m.yaml"), None)
    assert found is not None
    assert found.reason.arguments["tenant"] == "speech"


def test_a_shallow_history_begins_with_a_change_of_all_that_it_has(
    site: Site, tmp_path: Path
) -> None:
    site.begun()
    site.change(site.alice, "vision/m.yaml")
    head = site.change(site.mallory, "other/m.yaml")
    whole, site.work = site.work, tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", whole.as_uri(), str(site.work)], check=True)
    site.start()
    found = site.verification.refusal(head, None)
    assert found is not None
    assert found.commit == head


def test_a_change_is_looked_for_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    head = site.begun()
    assert site.refused(head, None) is None
    compared: list[Commit] = []
    known = Repository.changed_paths

    def counted(self: Repository, before: Commit | None, after: Commit, wanted: object) -> object:
        compared.append(after)
        return known(self, before, after, wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(Repository, "changed_paths", counted)
    assert site.refused(head, head) is None
    assert compared == []
    new = site.change(site.mallory, "other/m.yaml")
    assert site.refused(new, head) is None
    assert compared == [new]
