"""Access to a remote: the URL and environment of git.

Nothing of one remote reaches another: credentials, host keys and certificates are in the
environment of a call. A password is handed out by a helper that git asks for the URL's own scheme,
host and port only.
"""

from __future__ import annotations

import os
import shlex
import ssl
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pygit2

from reconciler import redaction
from reconciler.errors import GitError
from reconciler.git.command import environment
from reconciler.git.credentials import TOKEN_USER, Credential, CredentialTable
from reconciler.git.errors import writing
from reconciler.urls import is_local, redact, split_ssh

_HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$RECONCILER_GIT_USER" "$RECONCILER_GIT_PASSWORD"; }; f'
)


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
    """Remove our secrets and those in URLs from a server's text."""
    return redact(redaction.without(text, secrets))
