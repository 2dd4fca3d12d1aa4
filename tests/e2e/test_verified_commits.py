"""A daemon that wants signed commits runs nothing of a head that is not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.e2e.site import BRANCH, Site, git
from tests.git.signers import Signer, commit, ssh_signer


@pytest.fixture
def alice(site: Site) -> Signer:
    """The allowed signer of the site."""
    signer = ssh_signer(site.root, "alice")
    (site.root / "signers").write_text(f"alice {signer.key}\n")
    site.configure(repository={"verify": {"signers": "signers"}})
    return signer


def push(site: Site, signer: Signer | None) -> str:
    made = commit(site.work, "Change", signer)
    git(site.work, "push", "--quiet", "--force", "origin", "main")
    return made


def sync(site: Site) -> Any:
    return YAML(typ="safe").load(site.show("sync.yaml"))


def forge_head(site: Site, head: str) -> None:
    """Commit another head, and another object, as anyone with push rights can."""
    clone = site.root / "forger"
    git(site.root, "clone", "--quiet", "--branch", BRANCH, str(site.remote), str(clone), quiet=True)
    file = clone / "sync.yaml"
    file.write_text(re.sub("head: .*", f"head: {head}", file.read_text()))
    known = (clone / "default/models/a.yaml").read_text()
    (clone / "default/models/forged.yaml").write_text(known.replace("name: a", "name: forged"))
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--all", "--message", "Forge")
    git(clone, "push", "--quiet", "origin", BRANCH)


def test_an_unsigned_head_changes_nothing_until_a_signed_one_follows(
    site: Site, alice: Signer
) -> None:
    site.trained("a")
    good = push(site, alice)
    assert site.run_once().returncode == 0
    assert site.ran() == {"a": 1}
    site.trained("b")
    site.remove("a.yaml")
    bad = push(site, None)
    done = site.run_once()
    assert done.returncode == 1
    assert f"main: the head {bad[:12]} is refused: the commit is not signed" in done.stdout
    assert not site.ran()
    found = sync(site)
    assert found["head"] == good
    assert found["refused"]["commit"] == bad
    assert found["refused"]["reason"] == "CommitUnsigned"
    assert "Not verified" in site.show("README.md")
    assert bad[:12] in site.call("status").stderr
    assert bad[:12] in site.call("why", "a").stderr
    why = site.call("why", "b")
    assert "no object is called b" in why.stderr, "the commit in force does not have it"
    push(site, alice)
    assert site.run_once().returncode == 0
    assert site.ran() == {"b": 1}
    assert "refused" not in sync(site)


def test_a_status_branch_that_names_a_forged_head_is_not_believed(
    site: Site, alice: Signer
) -> None:
    site.trained("a")
    good = push(site, alice)
    site.run_once()
    site.ran()
    site.trained("b")
    bad = push(site, None)
    forge_head(site, bad)
    site.run_once()
    assert "b" not in site.ran()
    assert sync(site)["head"] == good


def test_a_head_is_refused_whose_change_of_a_tenant_is_not_its_signers(
    site: Site, alice: Signer
) -> None:
    vision = {"name": "vision", "paths": ["v.yaml", "src/**"], "namespaces": ["default"]}
    other = {"name": "other", "paths": ["**"], "namespaces": ["other"]}
    bob = ssh_signer(site.root, "bob")
    with (site.root / "signers").open("a") as file:
        file.write(f"bob {bob.key}\n")
    (site.root / "vision.signers").write_text(f"alice {alice.key}\n")
    site.configure(
        repository={"verify": {"signers": "signers"}},
        tenants=[{**vision, "signers": "vision.signers"}, other],
    )
    site.trained("v")
    good = push(site, alice)
    assert site.run_once().returncode == 0
    assert site.ran() == {"v": 1}
    site.edit("v.yaml", "params: {}", "params: {a: 1}")
    bad = push(site, bob)
    site.write("README.md", "x")
    head = push(site, bob)
    done = site.run_once()
    assert done.returncode == 1
    message = "v.yaml of tenant vision is changed without a signature of the tenant's signers"
    assert f"main: the head {head[:12]} is refused, as its commit {bad[:12]}: {message}" in (
        done.stdout
    )
    assert not site.ran()
    found = sync(site)
    assert found["head"] == good
    assert found["refused"]["commit"] == head
    assert found["refused"]["reason"] == "NotSignedByTenant"
    assert message in found["refused"]["message"]
    assert "Not verified" in site.show("README.md")
    site.edit("v.yaml", "{a: 1}", "{a: 2}")
    push(site, alice)
    assert site.run_once().returncode == 0
    assert site.ran() == {"v": 1}
    assert "refused" not in sync(site)


@pytest.fixture
def signed_status(site: Site, alice: Signer) -> Signer:
    """The key of status commits, beside the signer of manifests."""
    key = ssh_signer(site.root, "status")
    site.configure(
        repository={"verify": {"signers": "signers"}}, status={"signingKeyFile": "status.key"}
    )
    return key


def tip(site: Site) -> str:
    return git(site.remote, "rev-parse", BRANCH).strip()


def test_status_commits_are_signed_by_the_key_of_the_configuration(
    site: Site, alice: Signer, signed_status: Signer
) -> None:
    site.trained("a")
    push(site, alice)
    assert site.run_once().returncode == 0
    (site.root / "expected").write_text(f"reconciler {signed_status.key}\n")
    git(
        site.remote, "-c", f"gpg.ssh.allowedSignersFile={site.root}/expected",
        "verify-commit", tip(site),
    )  # fmt: skip


def test_a_forged_status_commit_counts_for_nothing_and_is_written_over(
    site: Site, alice: Signer, signed_status: Signer
) -> None:
    site.trained("a")
    good = push(site, alice)
    assert site.run_once().returncode == 0
    site.ran()
    forge_head(site, "0" * 40)
    forged = tip(site)
    shown = site.call("status")
    assert "forged" not in shown.stdout
    assert f"the tip {forged[:12]} of the status branch is not signed" in shown.stderr
    site.trained("b")
    push(site, alice)
    assert site.run_once().returncode == 0
    assert site.ran() == {"b": 1}, "what was recorded before the forgery still counts"
    assert sync(site)["head"] != good
    git(site.remote, "merge-base", "--is-ancestor", forged, tip(site))
    assert "0" * 40 not in site.show("sync.yaml")
    files = git(site.remote, "ls-tree", "-r", "--name-only", BRANCH).split()
    assert sorted(files) == ["README.md", *(f"default/models/{n}.yaml" for n in "ab"), "sync.yaml"]


def test_a_status_branch_without_a_signed_commit_is_taken_over_by_signing_one(
    site: Site, alice: Signer
) -> None:
    site.trained("a")
    push(site, alice)
    assert site.run_once().returncode == 0
    site.ran()
    ssh_signer(site.root, "status")
    site.configure(
        repository={"verify": {"signers": "signers"}}, status={"signingKeyFile": "status.key"}
    )
    done = site.run_once()
    assert done.returncode == 1
    assert "sign a commit on top of it" in done.stderr
    clone = site.root / "adopter"
    git(site.root, "clone", "--quiet", "--branch", BRANCH, str(site.remote), str(clone), quiet=True)
    commit(clone, "Take over", alice)
    git(clone, "push", "--quiet", "origin", BRANCH)
    assert site.run_once().returncode == 0
    assert not site.ran()
