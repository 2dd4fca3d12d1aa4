"""The allow-list of source URLs: globs over the normal form, part by part.

Part by part, because a ``*`` that stands for a host must not run on into the path:
``https://*.example.com/*`` is not to allow ``https://elsewhere/x.example.com/y``.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from reconciler.patterns import as_ssh

#: What is served without encryption, or off this host's disk, is allowed by name only.
_BY_NAME = frozenset({"http", "file"})


def matches(url: str, globs: Sequence[str]) -> bool:
    """Whether a normal URL is allowed.

    An scp-like one counts as ``ssh://host/path``. A user counts where the glob names one.
    ``*`` in a path stands for any number of folders, and a glob without a path allows every path.
    """
    return any(_matches(as_ssh(url), g if "://" in g else as_ssh(g)) for g in globs)


def _matches(url: str, glob: str) -> bool:
    scheme, _, rest = url.partition("://")
    want_scheme, marker, want_rest = glob.partition("://")
    if not marker:
        return glob == "*" and scheme not in _BY_NAME
    want_scheme = want_scheme.lower()
    if scheme in _BY_NAME and want_scheme != scheme:
        return False
    if not fnmatch.fnmatchcase(scheme, want_scheme):
        return False
    if scheme == "file":
        return fnmatch.fnmatchcase(rest, want_rest)
    server, _, path = rest.partition("/")
    want_server, slash, want_path = want_rest.partition("/")
    if "@" not in want_server:
        server = server.rpartition("@")[2]
    if not fnmatch.fnmatchcase(server.lower(), want_server.lower()):
        return False
    return not slash or fnmatch.fnmatchcase(path, want_path)
