"""URLs of Git repositories: absolute, or relative to another.

URLs come from manifests, which are untrusted. What is matched against the allow-list is the
same normal form that is then opened, and anything that could be read in two ways is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from reconciler.errors import GitError, Trouble
from reconciler.urls.addresses import ABSOLUTE, PORTS, SCP, as_ssh

#: Neither may begin with a dash: ssh would take it for an option.
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\]")
#: User and password of a URL within a text, and its query or fragment. The second alternative
#: takes a word without one as a whole, so that a text is not searched from each :// of a word.
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY = re.compile(r"(://[^\s?#]*[?#])\S+|://\S*")
_HOST_END = re.compile(r"[/?#]")
_SCP_USER = re.compile(r"[^@:/]+@[^@:/]+:|[^@]*$")
_REST = re.compile(r"(?s)(?<=[?#]).+")


class UrlError(GitError):
    """A URL that can never be the one of a repository."""

    trouble = Trouble.REJECTED
    permanent = True


def redact(text: str) -> str:
    """Remove user, password, query and fragment from every URL in a text.

    GitLab takes a token as ``?private_token=…``.
    """
    return _QUERY.sub(lambda word: f"{word[1]}…" if word[1] else word[0], _USERINFO.sub("", text))


def redact_url(url: str) -> str:
    """Remove possible secrets from a single URL, valid or not.

    An invalid one is cut more widely than :func:`redact` does: its scheme may be missing, and a
    password may have spaces and slashes in it. The user of an scp-like URL stays.
    """
    scheme, marker, rest = url.partition("://") if "://" in url else ("", "", url)
    server = _HOST_END.split(rest, maxsplit=1)[0]
    if {"@", ":"} & {*server} if marker else not _SCP_USER.match(url):
        rest = rest.rpartition("@")[2]
    return redact(f"{scheme}{marker}{_REST.sub('…', rest)}")


def check_url(url: str) -> str:
    """Return a URL of a manifest unless it can never work.

    A relative one depends on the manifest repository's; only its form is checked. Raises UrlError.
    """
    if url == ".":
        return url
    if url.startswith(("./", "../")) or url == "..":
        names = [name for name in url.split("/") if name not in ("", ".", "..")]
        normal_url(f"file:///repository/{'/'.join(names)}")
    else:
        normal_url(url)
    return url


def resolve_url(base: str, url: str) -> str:
    """Return the absolute, normal form of a URL of a manifest.

    ``base`` is the URL of the manifest's repository.

    ``./`` and ``../`` are relative to ``base`` as Git reads a relative submodule URL: ``../b``
    beside ``https://host/team/a`` is ``https://host/team/b``. Raises UrlError.
    """
    if url.startswith(("./", "../")) or url == "..":
        return normal_url(_join(base, url))
    return normal_url(url)


def _join(base: str, relative: str) -> str:
    if ABSOLUTE.match(base):
        parts = urlsplit(base)
        head, path = f"{parts.scheme}://{parts.netloc}/", parts.path
    elif scp := SCP.fullmatch(base):
        head, path = base[: scp.start("path")], scp["path"]
        head += "/" if path.startswith("/") else ""
    else:
        head, path = "/", base
    names = [name for name in path.split("/") if name]
    for step in relative.split("/"):
        if step == "..":
            if not names:
                raise UrlError(f"{redact_url(relative)} leads out of {redact(base)}")
            names.pop()
        elif step not in ("", "."):
            names.append(step)
    if not names:
        raise UrlError(f"{redact_url(relative)} leads out of {redact(base)}")
    return head + "/".join(names)


def normal_url(url: str) -> str:
    """Return a URL's normal form. Raises UrlError for a refused one."""
    if any(char == " " or not char.isprintable() for char in url) or "\\" in url:
        raise UrlError(
            f"{redact_url(url)!r} is no URL: it has spaces, control characters or backslashes"
        )
    if ABSOLUTE.match(url):
        try:
            parts = urlsplit(url)
            return _normal_absolute(url, parts, parts.port)
        except ValueError as error:
            raise UrlError(f"{redact_url(url)}: {error}") from error
    if url.startswith("/"):
        if "%" in url:
            raise UrlError(f"{redact_url(url)}: write a path with a % in it as a file URL")
        path = _single_slashes(url).rstrip("/") or "/"
        _safe_path(path, url)
        return f"file://{quote(path)}"
    if scp := SCP.fullmatch(url):
        return _normal_scp(url, scp)
    raise UrlError(
        f"{redact_url(url)} is no URL of a repository: expected https, ssh, scp-like or file, "
        f"or one that begins with ./ or ../"
    )


def _normal_absolute(url: str, parts: SplitResult, port: int | None) -> str:
    shown, scheme = redact_url(url), parts.scheme.lower()
    if scheme not in PORTS:
        raise UrlError(f"{shown}: {scheme} URLs are not supported; use https, ssh or file")
    if "?" in url or "#" in url:
        raise UrlError(f"{shown}: a repository's URL has no query and no fragment")
    if parts.password is not None or ("@" in parts.netloc and scheme != "ssh"):
        raise UrlError(f"{shown}: credentials do not belong in a URL; configure them by URL prefix")
    path = _single_slashes(parts.path) if scheme == "file" else parts.path
    # A % in a folder's name can only be written encoded, and is decoded only once there.
    _safe_path(path.replace("%25", "_") if scheme == "file" else path, url)
    path = path.rstrip("/") or "/"
    if scheme == "file":
        if parts.netloc.lower() not in ("", "localhost"):
            raise UrlError(f"{shown}: a file URL that names a host")
        return f"file://{path}"
    user, at, _ = parts.netloc.rpartition("@")
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    if (at and not _USER.fullmatch(user)) or not _HOST.fullmatch(host):
        raise UrlError(f"{shown}: that is no name of a host, or of a user of one")
    if port == 0:
        raise UrlError(f"{shown}: there is no port 0")
    shown_port = f":{port}" if port is not None and port != PORTS[scheme] else ""
    return urlunsplit((scheme, f"{user}{at}{host}{shown_port}", path, "", ""))


def _normal_scp(url: str, scp: re.Match[str]) -> str:
    user, host, path = scp["user"], scp["host"].lower(), scp["path"]
    if (user is not None and not _USER.fullmatch(user)) or not _HOST.fullmatch(host):
        raise UrlError(f"{redact_url(url)}: that is no name of a host, or of a user of one")
    if "@" in path.partition("/")[0]:  # ann:password@host/path, say
        raise UrlError(f"{redact_url(url)}: credentials do not belong in a URL")
    if path.startswith("-") or "%" in path:
        raise UrlError(f"{redact_url(url)}: a path that begins with - or has a % in it is refused")
    _safe_path(path, url)
    path = path.rstrip("/")
    if not path:
        raise UrlError(f"{redact_url(url)}: it names no repository")
    return f"{user}@{host}:{path}" if user else f"{host}:{path}"


def _single_slashes(path: str) -> str:
    return re.sub(r"//+", "/", path)


def _safe_path(path: str, url: str) -> None:
    """Raise UrlError for a path that another program could read differently."""
    plain = unquote(path, errors="strict")
    parts = plain.rstrip("/").split("/")
    if any(part in (".", "..") for part in parts) or "%" in plain or "" in parts[1:]:
        raise UrlError(
            f"{redact_url(url)}: a path with ., .. or // in it, or encoded twice, is refused"
        )
    if plain.count("/") != path.count("/") or "\\" in plain or not plain.isprintable():
        raise UrlError(f"{redact_url(url)}: a path with an encoded slash or control character")


def is_local(url: str) -> bool:
    """Return whether the repository is on this disk."""
    return url.startswith("file://")


def local_path(url: str) -> Path:
    """Return the folder of a ``file`` URL."""
    return Path(unquote(urlsplit(url).path))


def host_of(url: str) -> str:
    """Return the host of a URL; empty for a local one."""
    return urlsplit(as_ssh(url)).hostname or ""


def split_ssh(url: str) -> tuple[str, str] | None:
    """Split the user off an ssh or scp-like URL; else None.

    Returns the user, which may be empty, and the URL without it.
    """
    if url.startswith("ssh://"):
        user, at, rest = url.removeprefix("ssh://").partition("/")[0].rpartition("@")
        return user, f"ssh://{rest}{url[len('ssh://') + len(user + at + rest) :]}"
    if not ABSOLUTE.match(url) and (scp := SCP.fullmatch(url)):
        return scp["user"] or "", url[scp.start("host") :]
    return None
