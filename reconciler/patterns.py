"""Which prefix covers the URL of a Git repository.

One table says what a source is read with and what it is built with, so one rule reads it.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

PORTS = {"https": 443, "http": 80, "ssh": 22, "file": None}
SCP = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<host>[^@:/]+):(?P<path>[^:]+)")
ABSOLUTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def as_ssh(url: str) -> str:
    """An scp-like URL as ``ssh://user@host/path``; any other as it is."""
    if not ABSOLUTE.match(url) and (scp := SCP.fullmatch(url)):
        return f"ssh://{url[: scp.start('path') - 1]}/{scp['path'].lstrip('/')}"
    return url


def path_depth(url: str) -> int:
    """How many components the path of a URL has."""
    return len(_components(urlsplit(as_ssh(url)).path))


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def has_prefix(url: str, prefix: str) -> bool:
    """Whether a prefix covers a URL: the same scheme, host and port, and whole path components."""
    whole = f"{prefix}/" if prefix.endswith(":") else prefix  # git@host: has no path yet
    mine, theirs = urlsplit(as_ssh(url)), urlsplit(as_ssh(whole))
    try:
        ports = [each.port or PORTS.get(each.scheme) for each in (mine, theirs)]
    except ValueError:
        return False
    if (mine.scheme, mine.hostname, ports[0]) != (theirs.scheme, theirs.hostname, ports[1]):
        return False
    want = _components(theirs.path)
    return _components(mine.path)[: len(want)] == want
