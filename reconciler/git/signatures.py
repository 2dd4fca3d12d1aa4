"""Signatures of commits: checked by git, made by ssh-keygen.

SSH signatures are checked against a file of allowed signers, with its namespaces and times of
validity, and OpenPGP signatures against a keyring. As in git, the time that counts is the
committer's date in the commit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2

from reconciler.errors import GitError, ReconcilerError, UsageFault
from reconciler.git.command import environment, run_git
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Commit

#: Seconds for a call of git, and commits that one call checks.
TIMEOUT = 60.0
_CHUNK = 100
_MOST_KNOWN = 10_000
#: Commits that are looked through for a verified one, and that one push may bring where each is
#: checked.
MOST_COMMITS = 1000

#: By git's letter for ``%G?``. U is a valid signature of unknown trust: of OpenPGP, which knows no
#: allowed signers but the keyring itself, it is good; of SSH its key is of no allowed signer.
_REFUSED: Mapping[str, ReasonCode] = {
    "N": ReasonCode.COMMIT_UNSIGNED,
    "B": ReasonCode.SIGNATURE_INVALID,
    "X": ReasonCode.SIGNER_EXPIRED,
    "Y": ReasonCode.SIGNER_EXPIRED,
    "R": ReasonCode.SIGNER_REVOKED,
}
_SSH_KEY = "SHA256:"


@dataclass(frozen=True, slots=True)
class Signature:
    """The check of one commit.

    ``refused`` is None if an allowed signer signed it. ``signer`` is the principal or user id;
    empty if unknown.
    """

    commit: Commit
    signer: str
    refused: Reason | None


class SignatureVerifier:
    """Checks commits against files that may change at any time.

    ``signers`` is an allowed-signers file of SSH, ``revoked`` a revocation list of SSH, and
    ``keyring`` a file of OpenPGP public keys. ``home`` is a folder for files of its own. The key of
    ``own`` is allowed as well.
    """

    def __init__(
        self,
        *,
        signers: Path | None = None,
        revoked: Path | None = None,
        keyring: Path | None = None,
        home: Path,
        own: CommitSigner | None = None,
    ) -> None:
        self._signers = signers
        self._own = own
        self._revoked = revoked
        self._keyring = keyring
        self._home = home.absolute()
        #: The hash of the files, and what was checked with them.
        self._files = ""
        self._known: dict[Commit, Signature] = {}

    def check(self, repository: Path, commits: Sequence[Commit]) -> Iterator[Signature]:
        """Check commits of a repository, in their order.

        A result is remembered while the files are the same. Raises GitError.
        """
        files = self._digest()
        if files != self._files:
            self._files, self._known = files, {}
        for start in range(0, len(commits), _CHUNK):
            chunk = commits[start : start + _CHUNK]
            missing = [commit for commit in chunk if commit not in self._known]
            if len(self._known) + len(missing) > _MOST_KNOWN:
                self._known.clear()
                missing = list(chunk)
            if missing:
                self._known |= {each.commit: each for each in self._checked(repository, missing)}
            for commit in chunk:
                yield self._known[commit]

    def first_verified(self, repository: Path, commits: Sequence[Commit]) -> Commit | None:
        """Return the first of these commits that is verified. Raises GitError."""
        checked = self.check(repository, commits)
        return next((found.commit for found in checked if found.refused is None), None)

    def _digest(self) -> str:
        """Hash the files. Raises GitError if one cannot be read."""
        digest = hashlib.sha256()
        for file in (self._signers, self._revoked, self._keyring):
            try:
                digest.update(hashlib.sha256(file.read_bytes() if file else b"").digest())
            except OSError as error:
                why = f"the file of signers {file} cannot be read: {error.strerror}"
                raise GitError(why) from error
        return digest.hexdigest()

    def _checked(self, repository: Path, commits: Sequence[Commit]) -> Iterator[Signature]:
        done = run_git(
            [
                f"--git-dir={repository}",
                "log",
                "--no-walk=unsorted",
                "--format=%H%x00%G?%x00%GF%x00%GS",
                *commits,
                "--",
            ],
            env=self._environment(),
            timeout=TIMEOUT,
        )
        if done.code != 0:
            raise GitError(f"signatures cannot be checked: {done.err.strip()[:300]}")
        lines = [line.split("\0") for line in done.out.splitlines()]
        if [line[0] for line in lines] != list(commits):
            raise GitError("signatures cannot be checked: git did not print each commit")
        for commit, letter, key, signer in lines:
            yield Signature(Commit(commit), signer, _refusal(letter, key))

    def _environment(self) -> dict[str, str]:
        settings = {
            "gpg.ssh.allowedSignersFile": str(self._allowed()),
            # Neither a command of the repository's users nor X.509, for which nothing is set.
            "gpg.x509.program": "false",
            "gpg.program": "gpg" if self._keyring is not None else "false",
            "log.showSignature": "false",
            "log.showRoot": "false",
        }
        if self._revoked is not None:
            settings["gpg.ssh.revocationFile"] = str(self._revoked)
        more = {"GNUPGHOME": str(self._gpg_home()), "GIT_NO_REPLACE_OBJECTS": "1"}
        return environment(self._home, settings=settings, more=more)

    def _allowed(self) -> Path:
        """The file of allowed signers, with the own one."""
        if self._own is None:
            return self._signers or Path(os.devnull)
        configured = self._signers.read_text() if self._signers is not None else ""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._home / "allowed_signers"
        file.write_text(f"{configured}\n{self._own.allowed_signer()}")
        return file

    def _gpg_home(self) -> Path:
        """The folder of gpg, with the keyring's keys alone."""
        folder = self._home / "gnupg"
        if self._keyring is None:
            return folder
        digest = hashlib.sha256(self._keyring.read_bytes()).hexdigest()
        done = folder / "imported"
        if done.is_file() and done.read_text() == digest:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        _run(
            ["gpg", "--batch", "--quiet", "--no-autostart", "--import", str(self._keyring)],
            env=environment(self._home, more={"GNUPGHOME": str(folder)}),
            missing=UsageFault("repository.verify.keyring needs the gpg command"),
            failed=f"the keyring {self._keyring} cannot be imported",
        )
        done.write_text(digest)
        return folder


class CommitSigner:
    """Signs commits by an SSH key without a passphrase.

    Its file is read at each use, as it may be replaced.
    """

    def __init__(self, key: Path, home: Path) -> None:
        self._key = key
        self._home = home.absolute()

    def sign(self, commit: bytes) -> str:
        """Return the armored signature of a commit's text. Raises GitError."""
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder, "commit")
            text.write_bytes(commit)
            self._ssh_keygen("-Y", "sign", "-n", "git", "-f", str(self._private(folder)), str(text))
            return text.with_suffix(".sig").read_text()

    def allowed_signer(self) -> str:
        """Return the line of an allowed-signers file for the key. Raises GitError."""
        with tempfile.TemporaryDirectory() as folder:
            public = self._ssh_keygen("-y", "-f", str(self._private(folder)))
        return f'reconciler namespaces="git" {" ".join(public.split()[:2])}\n'

    def _private(self, folder: str) -> Path:
        """Copy the key for this user alone.

        ssh-keygen takes none that others can read, as a mounted Secret is.
        """
        try:
            data = self._key.read_bytes()
        except OSError as error:
            why = f"the key {self._key} of status commits cannot be read: {error.strerror}"
            raise GitError(why) from error
        copy = Path(folder, "key")
        copy.touch(mode=0o600)
        copy.write_bytes(data if data.endswith(b"\n") else data + b"\n")
        return copy

    def _ssh_keygen(self, *arguments: str) -> str:
        return _run(
            ["ssh-keygen", *arguments],
            env=environment(self._home),
            missing=GitError("status.signingKeyFile needs the ssh-keygen command"),
            failed=f"the key {self._key} of status commits cannot be used",
        )


def _run(
    command: Sequence[str], *, env: Mapping[str, str], missing: ReconcilerError, failed: str
) -> str:
    """Run a program, and return its output.

    Raises ``missing`` where it is not installed, and GitError.
    """
    try:
        done = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        raise missing from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"{command[0]} did not end in time") from error
    if done.returncode != 0:
        raise GitError(f"{failed}: {done.stderr.decode('utf-8', 'replace').strip()[:300]}")
    return done.stdout.decode("utf-8", "replace")


def _refusal(letter: str, key: str) -> Reason | None:
    if letter == "G" or (letter == "U" and not key.startswith(_SSH_KEY)):
        return None
    code = _REFUSED.get(letter, ReasonCode.SIGNER_UNKNOWN)
    if code is ReasonCode.SIGNER_UNKNOWN:
        return Reason.of(code, key=key or "unknown")
    return Reason.of(code)


def write_commit(
    repository: pygit2.Repository,
    tree: pygit2.Oid,
    message: str,
    *,
    author: tuple[str, str],
    parents: Sequence[Commit],
    signer: CommitSigner | None,
) -> Commit:
    """Write a commit, signed where there is a signer.

    ``author`` is a name and an email address. No ref is moved.
    """
    by, before = pygit2.Signature(*author), [pygit2.Oid(hex=parent) for parent in parents]
    if signer is None:
        return Commit(str(repository.create_commit(None, by, by, message, tree, [*before])))
    # Its type in pygit2 1.21 is an id; it returns the text.
    unsigned: object = repository.create_commit_string(by, by, message, tree, [*before])
    text = str(unsigned)
    signature = signer.sign(text.encode())
    return Commit(str(repository.create_commit_with_signature(text, signature, "gpgsig")))
