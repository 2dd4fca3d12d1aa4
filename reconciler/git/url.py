"""URLs of Git repositories: absolute, relative to another, and against an allow-list.

URLs come from manifests, which are untrusted. What is matched against the allow-list is the
same normal form that is then opened, and anything that could be read in two ways is refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from reconciler.git.errors import GitError, redact

_SCHEMES = frozenset({"https", "http", "ssh", "file"})
_SCP = re.compile(r"(?P<host>(?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9.-]+):(?P<path>[^:]+)")
_ABSOLUTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def resolve_url(base: str, url: str) -> str:
    """The absolute, normal form of a URL as a manifest in the repository at ``base`` has it.

    ``./`` and ``../`` are relative to ``base`` as Git reads a relative submodule URL: ``../b``
    beside ``https://host/team/a`` is ``https://host/team/b``. Raises GitError.
    """
    if url.startswith(("./", "../")) or url == "..":
        return normal_url(_join(base, url))
    return normal_url(url)


def _join(base: str, relative: str) -> str:
    if _ABSOLUTE.match(base):
        parts = urlsplit(base)
        head, path = f"{parts.scheme}://{parts.netloc}/", parts.path
    elif scp := _SCP.fullmatch(base):
        head, path = f"{scp['host']}:", scp["path"]
    else:
        head, path = "/", base
    rooted = head == "/" or head.endswith("://") or "://" in head
    names = [name for name in path.split("/") if name]
    for step in relative.split("/"):
        if step == "..":
            if not names:
                raise GitError(f"{relative} leads out of {redact(base)}")
            names.pop()
        elif step not in ("", "."):
            names.append(step)
    joined = "/".join(names)
    if not rooted and path.startswith("/"):
        joined = f"/{joined}"
    return head + joined


def normal_url(url: str) -> str:
    """A URL in its normal form. Raises GitError for one that cannot be used, with the reason."""
    if any(ord(char) <= 32 or ord(char) == 127 for char in url) or "\\" in url:
        raise GitError(
            f"{redact(url)!r} is no URL: it has spaces, control characters or backslashes"
        )
    if _ABSOLUTE.match(url):
        return _normal_absolute(url)
    if url.startswith("/"):
        return Path(_safe_path(url, url)).as_uri()
    if scp := _SCP.fullmatch(url):
        _safe_path(scp["path"], url)
        user, _, host = scp["host"].rpartition("@")
        return f"{user}@{host.lower()}:{scp['path']}" if user else f"{host.lower()}:{scp['path']}"
    raise GitError(
        f"{redact(url)} is no URL of a repository: expected https, ssh, scp-like or file, "
        f"or one that begins with ./ or ../"
    )


def _normal_absolute(url: str) -> str:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _SCHEMES:
        raise GitError(f"{redact(url)}: {scheme} URLs are not supported; use https, ssh or file")
    if parts.query or parts.fragment:
        raise GitError(f"{redact(url)}: a repository's URL has no query and no fragment")
    if parts.password is not None or (parts.username and scheme != "ssh"):
        raise GitError(
            f"{redact(url)}: credentials do not belong in a URL; configure them by URL prefix"
        )
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise GitError(f"{redact(url)}: {error}") from error
    host = (parts.hostname or "").lower()
    if bool(host) == (scheme == "file") and host != "localhost":
        said = "names a host" if host else "names no host"
        raise GitError(f"{redact(url)}: a {scheme} URL that {said}")
    if scheme == "file":
        host = ""
    user = f"{parts.username}@" if parts.username else ""
    shown = f"[{host}]" if ":" in host else host
    path = _safe_path(parts.path, url)
    return urlunsplit((scheme, f"{user}{shown}{port}", path.rstrip("/") or "/", "", ""))


def _safe_path(path: str, url: str) -> str:
    """The path, unless it could mean another one to whoever reads it next."""
    plain = unquote(path)
    if any(part in (".", "..") for part in plain.split("/")) or "%" in plain:
        raise GitError(f"{redact(url)}: a path with . or .. in it, or encoded twice, is refused")
    return path


def is_local(url: str) -> bool:
    """Whether the repository is on this disk."""
    return url.startswith("file://")


def local_path(url: str) -> Path:
    """The folder of a ``file`` URL."""
    return Path(unquote(urlsplit(url).path))


def host_of(url: str) -> str:
    """The host a URL is served by; empty for a local one."""
    return urlsplit(_as_ssh(url)).hostname or ""


def matches(url: str, globs: Sequence[str]) -> bool:
    """Whether a normal URL is allowed; an scp-like one counts as ``ssh://host/path``."""
    candidate = _as_ssh(url)
    return any(fnmatch.fnmatchcase(candidate, glob) for glob in globs)


def _as_ssh(url: str) -> str:
    if not _ABSOLUTE.match(url) and (scp := _SCP.fullmatch(url)):
        return f"ssh://{scp['host']}/{scp['path'].lstrip('/')}"
    return url


def has_prefix(url: str, prefix: str) -> bool:
    """Whether a prefix covers a URL: the same host, and whole components of the path."""
    mine, theirs = urlsplit(_as_ssh(url)), urlsplit(_as_ssh(prefix))
    if (mine.scheme, mine.hostname, mine.port) != (theirs.scheme, theirs.hostname, theirs.port):
        return False
    have = [part for part in mine.path.split("/") if part]
    want = [part for part in theirs.path.split("/") if part]
    return have[: len(want)] == want
