"""Calls to remotes: credentials, host keys, certificates, deadlines, and errors.

The git command talks, for the reasons that :mod:`reconciler.git.command` gives; what it has fetched
is then read without it. Every call is configured by its own environment, so nothing of one remote
reaches another. A password is handed out by a helper that git asks for the URL's own scheme, host
and port only.
"""

from __future__ import annotations

import os
import re
import shlex
import ssl
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pygit2

from reconciler.errors import GitError
from reconciler.git.command import Done, LateError, environment, run_git
from reconciler.git.credentials import TOKEN_USER, Credential, CredentialTable
from reconciler.git.errors import explain, writing
from reconciler.git_url import is_local, normal_url, redact, split_ssh
from reconciler.types import Commit

#: Seconds for a look-up or a push. A fetch may take longer, as the first one brings everything.
DEFAULT_TIMEOUT = 60.0
FETCH_PATIENCE = 10

_REF_LINE = re.compile(r"(?:ref: (?P<target>\S+)|(?P<id>[0-9a-f]{40,64}))\t(?P<name>\S+)")
_ADVERTISEMENT = "/info/refs"
_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$RECONCILER_GIT_USER" "$RECONCILER_GIT_PASSWORD"; }; f'
)


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """The refs that a remote advertises.

    Tags are peeled; ``head`` is the name that its HEAD points to.
    """

    commits: Mapping[str, Commit]
    head: str | None = None


class PushRejectedError(Exception):
    """The branch has moved since it was last fetched."""


@dataclass(slots=True)
class Transport:
    """Calls to remotes, each with the credentials of its URL.

    ``home`` is a folder of our own, for the files that git and ssh read. ``timeout`` is in
    seconds. Safe to use from several threads.
    """

    credentials: CredentialTable
    home: Path
    timeout: float = DEFAULT_TIMEOUT
    _moved: dict[str, str] = field(default_factory=dict, repr=False)

    def list_refs(self, url: str, patterns: Sequence[str] = ()) -> RemoteRefs:
        """Return a remote's refs: those that end in a pattern, or all.

        Raises GitError.
        """
        done = self._call(
            url, lambda at: ["ls-remote", "--quiet", "--symref", "--", at, *patterns], "read"
        )
        commits: dict[str, Commit] = {}
        head = None
        for line in done.out.splitlines():
            found = _REF_LINE.fullmatch(line)
            if found is None:
                continue
            if found["target"] is not None:
                head = found["target"] if found["name"] == "HEAD" else head
            else:
                # The peeled entry of an annotated tag follows the tag itself.
                commits[found["name"].removesuffix("^{}")] = Commit(found["id"])
        return RemoteRefs(commits, head)

    def fetch(
        self,
        path: Path,
        url: str,
        refspecs: Sequence[str],
        *,
        depth: int | None = None,
        largest: int | None = None,
        patience: float = 1.0,
    ) -> None:
        """Fetch the missing objects into the bare repository at ``path``.

        ``depth`` is of history: 0 fetches what an earlier fetch of some depth has left out, None
        leaves the depth as it is. ``largest`` bounds the bytes of one file. ``patience`` multiplies
        the timeout of a fetch.

        Raises GitError, LateError, and DamagedError where our repository is at fault.
        """
        options = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"]
        options.append("--update-shallow")  # the other side may be a shallow clone itself
        if depth:
            options.append(f"--depth={depth}")
        elif depth == 0 and (path / "shallow").exists():
            options.append("--unshallow")
        self._call(
            url,
            lambda at: [f"--git-dir={path}", "fetch", *options, "--", at, *refspecs],
            "read",
            timeout=self.timeout * FETCH_PATIENCE * patience,
            largest=largest,
        )

    def push(self, path: Path, url: str, commit: Commit, ref: str) -> None:
        """Push a commit to a ref, never by force.

        Raises PushRejectedError where the ref has moved, and GitError.
        """

        def command(at: str) -> list[str]:
            options = ["--porcelain", "--quiet", "--no-verify", "--no-signed"]
            return [f"--git-dir={path}", "push", *options, "--", at, f"{commit}:{ref}"]

        self._call(url, command, "pushed to", rejected=_rejection)

    def _call(
        self,
        url: str,
        command: Callable[[str], list[str]],
        verb: str,
        *,
        timeout: float | None = None,
        rejected: Callable[[Done], str | None] = lambda _: None,
        largest: int | None = None,
    ) -> Done:
        patience = timeout or self.timeout
        way = self._access(url)
        done = self._run(way, command, patience, largest)
        if done.code != 0 and "returned error: 30" in done.err:
            moved = self._follow(url, way)
            if moved is not None:
                self._moved[url] = moved
                way = self._access(url)
                done = self._run(way, command, patience, largest)
        if done.code == 0:
            return done
        why = rejected(done)
        if why is not None:
            raise PushRejectedError(redact(why))
        said = without_secrets(f"{done.err}\n{done.out}", way.secrets)
        raise explain(url, said, configured=way.configured, verb=verb)

    def _access(self, url: str) -> Access:
        return access(self._moved.get(url, url), self.credentials, self.home, self.timeout)

    def _run(
        self,
        way: Access,
        command: Callable[[str], list[str]],
        timeout: float,
        largest: int | None = None,
    ) -> Done:
        try:
            return run_git(command(way.url), env=way.env, timeout=timeout, largest=largest)
        except LateError as error:
            raise LateError(f"{redact(way.url)}: {error}") from error

    def _follow(self, url: str, way: Access) -> str | None:
        """Return the target of a redirect, if it stays on the host.

        Forges redirect to add ``.git``, or after a rename. Git would follow a redirect to any host,
        and a URL that is allowed must not lead to one that is not, such as a service that only this
        host can reach.
        """
        with tempfile.NamedTemporaryFile(dir=self.home) as trace:
            env = {**way.env, "GIT_TRACE_CURL": trace.name, "GIT_TRACE_CURL_NO_DATA": "1"}
            run_git(["ls-remote", "--", way.url, "HEAD"], env=env, timeout=self.timeout)
            text = Path(trace.name).read_text(errors="replace")
        found = re.findall(r"<= Recv header: location: (\S+)", text, re.IGNORECASE)
        if not found:
            return None
        target = urljoin(f"{way.url}{_ADVERTISEMENT}", found[-1])
        path, marker, _ = target.partition(_ADVERTISEMENT)
        if not marker or urlsplit(path)[:2] != urlsplit(url)[:2]:
            return None
        try:
            return normal_url(path)
        except GitError:
            return None


#: Answers to a push where another one came first. Any other refusal, as by a hook or a protected
#: branch, would be the same at the next try.
_FIRST = re.compile(
    r"fetch first|non-fast-forward|stale info|cannot lock ref|failed to update ref"
    r"|failed to lock|incorrect old value|reference already exists|unable to lock"
    # Our copy is shallow, and its oldest commit is gone from the remote: the branch was replaced.
    r"|shallow update not allowed"
)


#: The answer where a branch has the name of a folder of ours, or the other way round.
_IN_THE_WAY = "exists; cannot create"


def _rejection(done: Done) -> str | None:
    if _IN_THE_WAY in done.err:
        return None
    for line in done.out.splitlines():
        if line.startswith("!") and _FIRST.search(line):
            return line
    return None


@dataclass(frozen=True, slots=True)
class Access:
    """The URL and environment to run git with.

    ``secrets`` must not be repeated in messages. ``configured``: there are credentials.
    """

    url: str
    env: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    configured: bool = True


def access(url: str, table: CredentialTable, home: Path, timeout: float) -> Access:
    """Prepare a call to a URL.

    Credential files are read anew at each call. Raises GitError.
    """
    home = home.absolute()
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
    credential = table.find(url)
    ssh = split_ssh(url)
    if ssh is not None:
        user, plain = ssh
        more = {
            "GIT_ALLOW_PROTOCOL": "ssh",
            "GIT_SSH_VARIANT": "ssh",
            "GIT_SSH_COMMAND": _ssh_command(user, credential, table, home, timeout),
        }
        has_key = credential is not None and credential.ssh_key_file is not None
        return Access(plain, environment(home, more=more), configured=has_key)
    if is_local(url):
        _trust_directories(home)
        return Access(url, environment(home, more={"GIT_ALLOW_PROTOCOL": "file"}))
    return _http(url, credential, table, home, timeout)


def _http(
    url: str, credential: Credential | None, table: CredentialTable, home: Path, timeout: float
) -> Access:
    parts = urlsplit(url)
    settings = {
        "http.lowSpeedLimit": "1",
        "http.lowSpeedTime": str(max(1, round(timeout))),
        "http.sslVerify": "true",
    }
    more = {"GIT_ALLOW_PROTOCOL": parts.scheme}
    secrets: tuple[str, ...] = ()
    if table.ca_file is not None:
        settings["http.sslCAInfo"] = str(_bundle(table.ca_file, home))
    if credential is not None and credential.password_file is not None:
        password = credential.password()
        settings[f"credential.{parts.scheme}://{parts.netloc}.helper"] = _HELPER
        more["RECONCILER_GIT_USER"] = credential.username or TOKEN_USER
        more["RECONCILER_GIT_PASSWORD"] = password
        secrets = (password,)
    return Access(
        url,
        environment(home, settings=settings, more=more),
        secrets=secrets,
        configured=bool(secrets),
    )


def _ssh_command(
    user: str, credential: Credential | None, table: CredentialTable, home: Path, timeout: float
) -> str:
    """Return an ssh command that never prompts.

    It trusts the known host keys only, and offers the one key only.
    """
    key = credential.ssh_key_file if credential is not None else None
    if credential is not None and credential.username:
        user = credential.username
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PreferredAuthentications": "publickey",
        "ClearAllForwardings": "yes",
        "ControlPath": "none",
        "ConnectTimeout": str(max(1, round(timeout))),
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "3",
        "User": user or "git",
        "IdentityFile": _quoted(_private(key)) if key is not None else "none",
    }
    known = table.known_hosts()
    if known is not None:
        file = _write(home / "known_hosts", f"{known}\n")
        options["UserKnownHostsFile"] = _quoted(file)
        options["GlobalKnownHostsFile"] = os.devnull
    arguments = ["ssh", "-F", "none"]
    for name, value in options.items():
        arguments += ["-o", f"{name}={value}"]
    return shlex.join(arguments)


def _private(key: Path) -> Path:
    """Return the key file if ssh will use it; raise GitError otherwise.

    ssh silently skips a key that others can read.
    """
    try:
        found = key.stat()
        with key.open("rb"):
            pass
    except OSError as error:
        raise GitError(f"the ssh key file {key} cannot be read") from error
    if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) & 0o077:
        raise GitError(
            f"the ssh key file {key} can be read by others, so ssh refuses it: "
            f"chmod 600, or defaultMode 0400 where it is mounted from a Secret"
        )
    return key


def _quoted(path: Path) -> str:
    """Quote a path for ssh's options: spaces kept, percent signs not expanded."""
    text = str(path.absolute())
    if '"' in text:
        raise GitError(f"{path} has a quote in its name, which an ssh option cannot have")
    return '"' + text.replace("%", "%%") + '"'


def _bundle(ca_file: Path, home: Path) -> Path:
    """Write one file with our own authority and the public ones.

    Git reads one file of authorities, and no other beside it.
    """
    try:
        own = ca_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise GitError(f"tls.caFile {ca_file} cannot be read") from error
    public = ssl.get_default_verify_paths().cafile
    texts = [Path(public).read_text(errors="replace")] if public else []
    return _write(home / "ca.pem", "\n".join([*texts, own]))


def _trust_directories(home: Path) -> None:
    """Copy ``safe.directory`` of this user's and the system's Git configuration.

    It names the repositories of other users that are trusted. Nothing else is taken over.
    """
    trusted: list[str] = []
    for load in (pygit2.Config.get_system_config, pygit2.Config.get_global_config):
        try:
            trusted += [str(each) for each in load().get_multivar("safe.directory")]
        except (OSError, KeyError, pygit2.GitError):
            continue  # there is no such file
    lines = ["[safe]", *(f"\tdirectory = {_escaped(each)}" for each in trusted)]
    _write(home / ".gitconfig", "\n".join(lines) + "\n")


def _escaped(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write(file: Path, text: str) -> Path:
    """Replace a file in one step.

    Several threads may do so at once, and each of them finds a whole file.
    """
    try:
        if file.read_text() == text:
            return file
    except (OSError, UnicodeDecodeError):
        pass
    with writing(file):
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as new:
            new.write(text)
        Path(new.name).replace(file)
    return file


def without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """Remove our secrets, and those in URLs, from a server's text."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return redact(text)
