"""Every call to a remote goes through here: credentials, host keys, deadlines, and errors.

libgit2's timeouts, certificate locations and home directory are process-wide, so they are set
once for all remotes of a configuration. Its SSH transport checks host keys against
``~/.ssh/known_hosts`` and nothing else, and its Python binding does not show a callback the key;
so the configured files are written to a home directory of our own.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pygit2
from pygit2.enums import CredentialType

from reconciler.git.credentials import TOKEN_USER, Credential, CredentialTable
from reconciler.git.errors import GitError, explain, redact
from reconciler.git.url import host_of, is_local
from reconciler.types import Commit

T = TypeVar("T")
DEFAULT_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """What a remote advertises. Tags are peeled; ``head`` is the name its HEAD points to."""

    commits: Mapping[str, Commit]
    head: str | None = None


class PushRejectedError(Exception):
    """The branch has moved since it was last looked at."""


@dataclass(slots=True)
class Transport:
    """Talks to remotes; ``home`` is a folder of our own for the known hosts."""

    credentials: CredentialTable
    home: Path
    timeout: float = DEFAULT_TIMEOUT
    _written: str | None = field(default=None, repr=False)

    def list_refs(self, repository: pygit2.Repository, url: str) -> RemoteRefs:
        """What the remote has. Raises GitError."""
        heads = self._call(repository, url, lambda r, c: r.list_heads(callbacks=c))
        commits: dict[str, Commit] = {}
        head = None
        for entry in heads:
            name = str(entry.name)
            if name == "HEAD" and entry.symref_target:
                head = str(entry.symref_target)
            # The peeled entry of an annotated tag follows the tag itself.
            commits[name.removesuffix("^{}")] = Commit(str(entry.oid))
        return RemoteRefs(commits, head)

    def fetch(
        self, repository: pygit2.Repository, url: str, refspecs: Sequence[str], *, depth: int = 0
    ) -> None:
        """Fetch; ``depth`` 0 is everything. Raises GitError."""
        depth = 0 if is_local(url) else depth  # libgit2's local transport cannot fetch shallowly
        self._call(repository, url, lambda r, c: r.fetch(list(refspecs), callbacks=c, depth=depth))

    def push(self, repository: pygit2.Repository, url: str, commit: Commit, ref: str) -> None:
        """Push a commit to a ref, never by force. Raises PushRejectedError and GitError.

        libgit2's local transport overwrites whatever the ref is by then, so that two writers lose
        each other's commits; there the git binary pushes, which compares and swaps.
        """
        if is_local(url):
            self._push_local(repository, url, commit, ref)
            return
        try:
            self._call(repository, url, lambda r, c: r.push([f"{commit}:{ref}"], callbacks=c))
        except GitError as error:
            said = str(error)
            moved = ("fast-forward", "fastforward", "lock", "fetch first", "failed to update ref")
            if any(word in said for word in moved):
                raise PushRejectedError(said) from error
            raise

    def _push_local(
        self, repository: pygit2.Repository, url: str, commit: Commit, ref: str
    ) -> None:
        try:
            done = subprocess.run(
                ["git", "-C", repository.path, "push", "--porcelain", url, f"{commit}:{ref}"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise GitError("the git command is needed to push to a local repository") from error
        except subprocess.TimeoutExpired as error:
            raise GitError(f"{url}: the push took longer than {self.timeout:g} s") from error
        if done.returncode != 0:
            said = redact(f"{done.stdout}\n{done.stderr}").strip()
            if any(word in said for word in ("rejected", "cannot lock ref", "failed to update")):
                raise PushRejectedError(said)
            raise GitError(f"{url} cannot be pushed to: {said.splitlines()[-1] if said else ''}")

    def _call(
        self,
        repository: pygit2.Repository,
        url: str,
        call: Callable[[pygit2.Remote, pygit2.RemoteCallbacks], T],
    ) -> T:
        self._prepare()
        callbacks = _Callbacks(url, self.credentials.find(url), self.timeout)
        try:
            return call(repository.remotes.create_anonymous(url), callbacks)
        except GitError:
            raise
        except (pygit2.GitError, KeyError, ValueError, OSError) as error:
            if callbacks.late:
                message = f"{redact(url)} did not answer within {self.timeout:g} s"
                raise GitError(message) from error
            raise explain(url, error) from error

    def _prepare(self) -> None:
        """Set what libgit2 keeps for the whole process."""
        pygit2.settings.server_connect_timeout = int(self.timeout * 1000)
        pygit2.settings.server_timeout = int(self.timeout * 1000)
        if self.credentials.ca_file is not None:
            pygit2.settings.set_ssl_cert_locations(str(self.credentials.ca_file), None)
        known = self.credentials.known_hosts()
        if known and known != self._written:
            folder = self.home / ".ssh"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "known_hosts").write_text(known + "\n")
            pygit2.settings.homedir = str(self.home)
            self._written = known


class _Callbacks(pygit2.RemoteCallbacks):
    """One call's credentials and deadline."""

    def __init__(self, url: str, credential: Credential | None, timeout: float) -> None:
        super().__init__()
        self._url = url
        self._credential = credential
        self._asked = 0
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout

    @property
    def late(self) -> bool:
        return time.monotonic() >= self._deadline

    def credentials(
        self, url: str, username_from_url: str | None, allowed_types: CredentialType
    ) -> Any:
        self._asked += 1
        credential = self._credential
        if host_of(url) and host_of(url) != host_of(self._url):
            raise GitError(f"{redact(self._url)} sends on to another host, {host_of(url)}: refused")
        if credential is None:
            raise GitError(
                f"{redact(self._url)} wants authentication, and none is configured for it"
            )
        if self._asked > 3:
            raise GitError(f"{redact(self._url)}: authentication was refused")
        user = credential.username or username_from_url
        if allowed_types & CredentialType.SSH_KEY and credential.ssh_key_file is not None:
            return pygit2.Keypair(user or "git", None, str(credential.ssh_key_file), "")
        if allowed_types & CredentialType.USERNAME:
            return pygit2.Username(user or "git")
        password = CredentialType.USERPASS_PLAINTEXT
        if allowed_types & password and credential.password_file is not None:
            return pygit2.UserPass(user or TOKEN_USER, credential.password())
        raise GitError(f"{redact(self._url)}: the configured credentials are of another kind")

    def transfer_progress(self, stats: object) -> None:
        self._check_deadline()

    def sideband_progress(self, string: str) -> None:
        self._check_deadline()

    def push_update_reference(self, refname: str, message: str | None) -> None:
        if message is not None:
            raise GitError(f"{redact(self._url)}: {refname} was not updated: {message}")

    def _check_deadline(self) -> None:
        if self.late:
            raise GitError(f"{redact(self._url)} took longer than {self._timeout:g} s")
