"""Allow-lists and URL prefixes: the one matcher of all globs.

A value from a manifest, or from another cluster's status, is parsed into an `Address`; a glob of an
allow-list is parsed into a `Pattern` and admits an address part by part. Scheme, user, host, port
and path are matched apart, because a ``*`` for a host must not run on into the path:
``https://*.example.com/*`` does not admit ``https://evil.test/x.example.com/y``.

Within a part, ``*``, ``?`` and ``[…]`` are those of `fnmatch`; in a path they cross ``/``. A glob
without a path admits every path, ``*`` alone admits every host. The schemes in `NAMED_ONLY` are
admitted by a glob that begins with them only, never by ``*``. A value that could be read in two
ways (empty, ``.`` or ``..`` path components, backslashes, encoded slashes or dots) has no address,
and no glob admits it. docs/security.md describes the rules for users.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from reconciler.urls.addresses import PORTS, Address, Pattern, as_ssh


def path_depth(url: str) -> int:
    """Count the path components of a URL."""
    return len(_components(urlsplit(as_ssh(url)).path))


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def has_prefix(url: str, prefix: str) -> bool:
    """Return whether a URL prefix covers a URL.

    It does if scheme, host and port are the same, and the prefix's path components are the first
    of the URL's, each as a whole. Credentials and build secrets are found by such prefixes.
    """
    whole = f"{prefix}/" if prefix.endswith(":") else prefix  # git@host: has no path yet
    ours, theirs = urlsplit(as_ssh(url)), urlsplit(as_ssh(whole))
    try:
        ports = [each.port or PORTS.get(each.scheme) for each in (ours, theirs)]
    except ValueError:
        return False
    if (ours.scheme, ours.hostname, ports[0]) != (theirs.scheme, theirs.hostname, ports[1]):
        return False
    want = _components(theirs.path)
    return _components(ours.path)[: len(want)] == want


def admits_url(url: str, globs: Iterable[str]) -> bool:
    """Return whether an allow-list admits the URL of a Git repository.

    ``url`` is in the normal form of `reconciler.urls.git`. A glob without a user admits every user.
    """
    address = Address.of_url(url)
    return address is not None and any(Pattern.of_url(glob).admits(address) for glob in globs)


def admits_bucket(url: str, globs: Iterable[str], *, below: bool = False) -> bool:
    """Return whether an allow-list admits a bucket URL, with any folder.

    ``below``: a glob of a folder also admits what is in the folder.
    """
    address = Address.of_bucket(url)
    return address is not None and any(
        Pattern.of_bucket(glob).admits(address, below=below) for glob in globs
    )


def admits_image(image: str, globs: Iterable[str], *, below: bool = False) -> bool:
    """Return whether an allow-list admits an image reference.

    ``below``: a glob of a repository path also admits the repositories in it. ``*`` alone admits
    even what is no image reference, so that the container runtime names the mistake.
    """
    globs = tuple(globs)
    if "*" in globs:
        return True
    address = Address.of_image(image)
    return address is not None and any(
        Pattern.of_image(glob).admits(address, below=below) for glob in globs
    )


def admits_name(name: str, globs: Iterable[str]) -> bool:
    """Return whether an allow-list admits a name."""
    return any(fnmatchcase(name, glob) for glob in globs)


def admits_path(path: str, globs: Iterable[str]) -> bool:
    """Return whether a list of globs admits a path of a repository.

    A glob stands for a whole path. ``*`` stays within a component, ``**`` stands for any number of
    them.
    """
    parts = path.split("/")
    return any(_admits_parts(parts, glob.split("/")) for glob in globs)


def _admits_parts(parts: list[str], globs: list[str]) -> bool:
    ends = {0}  # the numbers of components that the globs so far may stand for
    for number, glob in enumerate(globs, start=1):
        if glob == "**":
            fewest = min(ends, default=len(parts)) + (number == len(globs))
            ends = set(range(fewest, len(parts) + 1))
        else:
            ends = {e + 1 for e in ends if e < len(parts) and fnmatchcase(parts[e], glob)}
    return len(parts) in ends
