"""Commits are signed by an allowed signer, or are refused with the reason."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler.errors import GitError
from reconciler.git import Signature, SignatureVerifier
from reconciler.reasons import ReasonCode
from reconciler.types import Commit
from tests.git.signers import Signer, commit, expire, gpg_signer, keyring, revoke, ssh_signer


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    subprocess.run(["git", "init", "--quiet", "-b", "main", str(folder)], check=True)
    return folder


def signers(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "signers"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def verifier(
    tmp_path: Path,
    signers: Path | None = None,
    *,
    keyring: Path | None = None,
    revoked: Path | None = None,
) -> SignatureVerifier:
    home = tmp_path / "home"
    return SignatureVerifier(signers=signers, keyring=keyring, revoked=revoked, home=home)


def check(found: SignatureVerifier, work: Path, *commits: str) -> list[Signature]:
    return list(found.check(work / ".git", [Commit(each) for each in commits]))


def code(found: SignatureVerifier, work: Path, commit: str) -> ReasonCode | None:
    (one,) = check(found, work, commit)
    return one.refused.code if one.refused else None


def test_a_commit_of_an_allowed_ssh_signer_is_verified(tmp_path: Path, work: Path) -> None:
    alice = ssh_signer(tmp_path, "alice")
    made = commit(work, "Sign", alice)
    (found,) = check(verifier(tmp_path, signers(tmp_path, f"alice {alice.key}")), work, made)
    assert (found.refused, found.signer) == (None, "alice")


def test_an_unsigned_commit_is_refused_whoever_it_says_committed_it(
    tmp_path: Path, work: Path
) -> None:
    alice = ssh_signer(tmp_path, "alice")
    made = commit(work, "Forge", who="Alice")
    allowed = signers(tmp_path, f"alice@example.test {alice.key}")
    assert code(verifier(tmp_path, allowed), work, made) is ReasonCode.COMMIT_UNSIGNED


def test_a_key_that_no_line_has_is_refused(tmp_path: Path, work: Path) -> None:
    alice, mallory = ssh_signer(tmp_path, "alice"), ssh_signer(tmp_path, "mallory")
    made = commit(work, "Sign", mallory, who="Alice")
    allowed = signers(tmp_path, f"alice {alice.key}")
    (found,) = check(verifier(tmp_path, allowed), work, made)
    assert found.refused is not None
    assert found.refused.code is ReasonCode.SIGNER_UNKNOWN
    assert str(found.refused.arguments["key"]).startswith("SHA256:")


@pytest.mark.parametrize(
    ("option", "refused"),
    [
        ('namespaces="git"', None),
        ('namespaces="file,git"', None),
        ('namespaces="file"', ReasonCode.SIGNATURE_INVALID),
        ('valid-before="20300101"', None),
        ('valid-before="20200101"', ReasonCode.SIGNER_UNKNOWN),
        ('valid-after="20300101"', ReasonCode.SIGNER_UNKNOWN),
    ],
)
def test_namespaces_and_times_of_validity_count_as_git_has_them(
    tmp_path: Path, work: Path, option: str, refused: ReasonCode | None
) -> None:
    alice = ssh_signer(tmp_path, "alice")
    made = commit(work, "Sign", alice, date="2026-01-01T00:00:00Z")
    allowed = signers(tmp_path, f"alice {option} {alice.key}")
    assert code(verifier(tmp_path, allowed), work, made) is refused


def test_a_revoked_ssh_key_is_refused(tmp_path: Path, work: Path) -> None:
    alice = ssh_signer(tmp_path, "alice")
    made = commit(work, "Sign", alice)
    allowed = signers(tmp_path, f"alice {alice.key}")
    revoked = tmp_path / "revoked"
    revoked.write_text(f"{alice.key}\n")
    assert code(verifier(tmp_path, allowed), work, made) is None
    found = code(verifier(tmp_path, allowed, revoked=revoked), work, made)
    assert found in {ReasonCode.SIGNATURE_INVALID, ReasonCode.SIGNER_UNKNOWN}


def test_a_change_of_the_signers_counts_at_once(tmp_path: Path, work: Path) -> None:
    alice, bob = ssh_signer(tmp_path, "alice"), ssh_signer(tmp_path, "bob")
    made = commit(work, "Sign", alice)
    found = verifier(tmp_path, signers(tmp_path, f"alice {alice.key}"))
    assert code(found, work, made) is None
    signers(tmp_path, f"bob {bob.key}")
    assert code(found, work, made) is ReasonCode.SIGNER_UNKNOWN


def moved_signature(work: Path, signer: Signer) -> str:
    """A commit with the signature of another one."""
    good = commit(work, "Sign", signer)
    raw = subprocess.check_output(["git", "cat-file", "commit", good], cwd=work)
    other = raw.replace(b"\n\nSign", b"\n\nChanged")
    done = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=work, input=other, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


@pytest.mark.parametrize("kind", ["ssh", "gpg"])
def test_a_signature_of_another_commit_is_refused(tmp_path: Path, work: Path, kind: str) -> None:
    if kind == "ssh":
        signer = ssh_signer(tmp_path, "alice")
        found = verifier(tmp_path, signers(tmp_path, f"alice {signer.key}"))
    else:
        signer = gpg_signer(tmp_path, "carol")
        found = verifier(tmp_path, keyring=keyring(tmp_path, signer))
    assert code(found, work, moved_signature(work, signer)) is ReasonCode.SIGNATURE_INVALID


def test_a_commit_of_a_key_in_the_keyring_is_verified_and_no_other_is(
    tmp_path: Path, work: Path
) -> None:
    carol, mallory = gpg_signer(tmp_path, "carol"), gpg_signer(tmp_path, "mallory")
    ours, theirs = commit(work, "Sign", carol), commit(work, "Sign", mallory)
    found = verifier(tmp_path, keyring=keyring(tmp_path, carol))
    assert code(found, work, ours) is None
    assert code(found, work, theirs) is ReasonCode.SIGNER_UNKNOWN


def test_an_ssh_signature_is_none_of_the_keyring(tmp_path: Path, work: Path) -> None:
    carol, alice = gpg_signer(tmp_path, "carol"), ssh_signer(tmp_path, "alice")
    made = commit(work, "Sign", alice)
    assert code(verifier(tmp_path, keyring=keyring(tmp_path, carol)), work, made) is not None


def test_an_expired_and_a_revoked_openpgp_key_are_refused(tmp_path: Path, work: Path) -> None:
    old, lost = gpg_signer(tmp_path, "old"), gpg_signer(tmp_path, "lost")
    expired, revoked = commit(work, "Sign", old), commit(work, "Sign", lost)
    expire(old)
    revoke(tmp_path, lost)
    found = verifier(tmp_path, keyring=keyring(tmp_path, old, lost))
    assert code(found, work, expired) is ReasonCode.SIGNER_EXPIRED
    assert code(found, work, revoked) is ReasonCode.SIGNER_REVOKED


def test_many_commits_are_checked_in_their_order(tmp_path: Path, work: Path) -> None:
    alice = ssh_signer(tmp_path, "alice")
    made = [commit(work, f"Change {n}", alice if n % 2 else None) for n in range(5)]
    found = check(verifier(tmp_path, signers(tmp_path, f"alice {alice.key}")), work, *made)
    assert [each.commit for each in found] == made
    assert [each.refused is None for each in found] == [False, True, False, True, False]


def test_a_replaced_object_is_not_what_is_checked(tmp_path: Path, work: Path) -> None:
    alice = ssh_signer(tmp_path, "alice")
    good, bad = commit(work, "Sign", alice), commit(work, "Do harm")
    subprocess.run(["git", "replace", bad, good], cwd=work, check=True)
    found = verifier(tmp_path, signers(tmp_path, f"alice {alice.key}"))
    assert code(found, work, bad) is ReasonCode.COMMIT_UNSIGNED


def test_signers_that_cannot_be_read_verify_nothing(tmp_path: Path, work: Path) -> None:
    made = commit(work, "Sign", ssh_signer(tmp_path, "alice"))
    with pytest.raises(GitError, match="cannot be read"):
        check(verifier(tmp_path, tmp_path / "missing"), work, made)
