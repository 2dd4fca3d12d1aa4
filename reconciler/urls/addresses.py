"""Addresses and patterns: values and globs of allow-lists, split into parts.

A value that could be read in two ways (empty, ``.`` or ``..`` path components, backslashes,
encoded slashes or dots) has no address, and no glob admits it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from urllib.parse import unquote

PORTS = {"https": 443, "http": 80, "ssh": 22, "file": None}
SCP = re.compile(r"(?:(?P<user>[^@:/]+)@)?(?P<host>[^@:/]+):(?P<path>[^:]+)")
ABSOLUTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
#: The schemes of buckets that are bound to a node's disk, or to a claim in a namespace.
NODE_BOUND = frozenset({"file", "pvc"})
#: Schemes without encryption, or of this machine or cluster alone: no ``*`` stands for them.
NAMED_ONLY = NODE_BOUND | {"http"}
#: The registry of images without a host part.
DOCKER_HUB = "docker.io"

_DOCKER_HUB_ALIAS = "index.docker.io"
_IMAGE_PORT = 443
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]+\]")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[^:]*))?")
_PORT = re.compile(r"[0-9]{1,5}")
_IMAGE = re.compile(
    r"(?P<name>[^@]+?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_IMAGE_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
#: A slash, a dot, a backslash or a percent sign, percent-encoded.
_ENCODED_SEPARATOR = re.compile(r"%(?:2f|2e|5c|25)", re.IGNORECASE)
_WILDCARD = re.compile(r"[*?[]")


def as_ssh(url: str) -> str:
    """Return an scp-like URL as ``ssh://user@host/path``, any other unchanged."""
    if not ABSOLUTE.match(url) and (scp := SCP.fullmatch(url)):
        return f"ssh://{url[: scp.start('path') - 1]}/{scp['path'].lstrip('/')}"
    return url


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The normal form of a URL, bucket or image reference, by parts.

    ``port`` is None for the scheme's default port, ``path`` has no slash at either end. An image
    has no scheme; ``tag`` and ``digest`` are an image's alone.
    """

    scheme: str
    host: str
    path: str
    user: str = ""
    port: int | None = None
    tag: str | None = None
    digest: str | None = None

    @classmethod
    @lru_cache(maxsize=4096)
    def of_url(cls, url: str) -> Address | None:
        """Parse the URL of a Git repository.

        None if it could be read in two ways.
        An scp-like URL is one of scheme ssh. The host is lower-case, the path percent-decoded.
        """
        scheme, marker, rest = as_ssh(url).partition("://")
        server, _, path = rest.partition("/")
        user, _, server = server.rpartition("@")
        scheme = scheme.lower()
        at = _host_and_port(server, PORTS.get(scheme))
        if scheme == "file" and server in ("", "localhost"):
            at = "", None
        if not marker or at is None or "?" in path or "#" in path:
            return None
        try:
            plain = unquote(path, errors="strict")
        except UnicodeDecodeError:
            return None
        if plain.count("/") != path.count("/") or ("%" in plain and scheme != "file"):
            return None
        plain = plain.rstrip("/")
        if not _is_plain(plain):
            return None
        return Address(scheme=scheme, user=user, host=at[0], port=at[1], path=plain)

    @classmethod
    @lru_cache(maxsize=4096)
    def of_bucket(cls, url: str) -> Address | None:
        """Parse a bucket URL, whose host is the bucket.

        None if it could be read in two ways.
        Nothing is decoded or changed in case, as drivers do neither.
        """
        scheme, marker, rest = url.partition("://")
        bucket, _, path = rest.partition("/")
        path = path.rstrip("/")
        if not marker or not (_HOST.fullmatch(bucket) or (scheme == "file" and not bucket)):
            return None
        if " " in path or _ENCODED_SEPARATOR.search(path) or not _is_plain(path):
            return None
        return Address(scheme=scheme, host=bucket, path=path)

    @classmethod
    @lru_cache(maxsize=4096)
    def of_image(cls, image: str) -> Address | None:
        """Parse an image reference as Docker does; None if it is none.

        The first component is the host if it has a ``.``, a ``:`` or an upper-case letter, or is
        ``localhost``. All others are images of Docker Hub, ``alpine`` for ``library/alpine``.
        """
        found = _IMAGE.fullmatch(image)
        if found is None:
            return None
        server, slash, path = found["name"].partition("/")
        if not slash or not (_is_host(server) or server.lower() != server):
            server, path = DOCKER_HUB, found["name"]
        at = _host_and_port(server, _IMAGE_PORT)
        if at is None or not _IMAGE_PATH.fullmatch(path):
            return None
        host = DOCKER_HUB if at[0] == _DOCKER_HUB_ALIAS else at[0]
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return Address(
            scheme="", host=host, port=at[1], path=path, tag=found["tag"], digest=found["digest"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A glob of an allow-list, by parts.

    A part that is None admits any. A glob without a port admits the scheme's default port, and any
    if its host ends in ``*``.
    """

    scheme: str
    host: str
    path: str | None = None
    user: str | None = None
    port: str | None = None
    tag: str | None = None
    digest: str | None = None

    @classmethod
    @lru_cache(maxsize=1024)
    def of_url(cls, glob: str) -> Pattern:
        """Parse a glob over repository URLs; without a scheme it admits nothing."""
        if glob == "*":
            return _ANY
        scheme, _, rest = (glob if "://" in glob else as_ssh(glob)).partition("://")
        server, _, path = rest.partition("/")
        user, at, server = server.rpartition("@")
        if scheme.lower() == "file" and server == "localhost":
            server = ""
        host, port = _split_server(server)
        return Pattern(
            scheme=scheme.lower(),
            user=user if at else None,
            host=host.lower(),
            port=port,
            path=_decoded(path.rstrip("/")) or None,
        )

    @classmethod
    @lru_cache(maxsize=1024)
    def of_bucket(cls, glob: str) -> Pattern:
        """Parse a glob over bucket URLs; without a scheme it admits nothing."""
        if glob == "*":
            return _ANY
        scheme, _, rest = glob.partition("://")
        bucket, _, path = rest.partition("/")
        return Pattern(scheme=scheme, host=bucket, path=path.rstrip("/") or None)

    @classmethod
    @lru_cache(maxsize=1024)
    def of_image(cls, glob: str) -> Pattern:
        """Parse a glob over image references.

        The first of several components is the host if Docker takes it for one, or if it has a
        wildcard. A single component is a host if it has a ``.`` before any ``:``, is
        ``localhost``, or has digits alone after a ``:``; otherwise an image of Docker Hub.
        """
        name, at, digest = glob.partition("@")
        server, slash, path = name.partition("/")
        if slash:
            named = _is_host(server) or _WILDCARD.search(server) is not None
        else:
            first, _, rest = server.partition(":")
            named = not at and (_is_host(first) or rest.isdecimal() or server.startswith("["))
        if not named:
            server, path = DOCKER_HUB, name
        folder, last_slash, last = path.rpartition("/")
        last, colon, tag = last.partition(":")
        path = f"{folder}{last_slash}{last}".rstrip("/")
        host, port = _split_server(server.lower())
        if host == _DOCKER_HUB_ALIAS:
            host = DOCKER_HUB
        if host == DOCKER_HUB and path and "/" not in path and not _WILDCARD.search(path):
            path = f"library/{path}"
        return Pattern(
            scheme="",
            host=host,
            port=port,
            path=path or None,
            tag=tag if colon else None,
            digest=digest if at else None,
        )

    def admits(self, address: Address, *, below: bool = False) -> bool:
        """Return whether every part admits the address's.

        ``below``: the path also admits every path in it.
        """
        return (
            self._admits_scheme(address.scheme)
            and _matches(address.user, self.user)
            and fnmatchcase(address.host, self.host)
            and self._admits_port(address)
            and self._admits_path(address, below=below)
            and _matches(address.tag or "", self.tag)
            and _matches(address.digest or "", self.digest)
        )

    def _admits_scheme(self, scheme: str) -> bool:
        if scheme in NAMED_ONLY:
            return scheme == self.scheme
        return fnmatchcase(scheme, self.scheme)

    def _admits_port(self, address: Address) -> bool:
        if self.port is None:
            return address.port is None or self.host.endswith("*")
        default = PORTS.get(address.scheme) if address.scheme else _IMAGE_PORT
        return fnmatchcase(str(address.port or default or ""), self.port)

    def _admits_path(self, address: Address, *, below: bool) -> bool:
        if self.path is None:
            return True
        paths = [address.path]
        if address.host == DOCKER_HUB and not address.scheme:
            # A glob such as alp* is written for alpine, whose path is library/alpine.
            short = address.path.removeprefix("library/")
            paths += [short] if "/" not in short else []
        return any(
            fnmatchcase(path, self.path) or (below and fnmatchcase(path, f"{self.path}/*"))
            for path in paths
        )


_ANY = Pattern(scheme="*", host="*")


def _matches(value: str, glob: str | None) -> bool:
    return glob is None or fnmatchcase(value, glob)


def _is_host(component: str) -> bool:
    return "." in component or ":" in component or component == "localhost"


def _host_and_port(server: str, default: int | None) -> tuple[str, int | None] | None:
    """Parse a value's ``host:port``; a default port is None."""
    found = _HOST_AND_PORT.fullmatch(server)
    if found is None or not _HOST.fullmatch(found["host"]):
        return None
    if found["port"] is None:
        return found["host"].lower(), None
    if not _PORT.fullmatch(found["port"]):
        return None
    port = int(found["port"])
    return found["host"].lower(), port if port != default else None


def _split_server(glob: str) -> tuple[str, str | None]:
    """Split a glob's ``host:port``.

    The brackets of an IPv6 address are no set of characters.
    """
    found = _HOST_AND_PORT.fullmatch(glob)
    if found is None:
        return glob, None
    host = found["host"]
    if host.startswith("[") and ":" in host:
        host = host.replace("[", "[[]", 1)
    return host, found["port"]


def _is_plain(path: str) -> bool:
    """Return whether a path has one reading only.

    ``path`` has no slash at its end.
    """
    if "\\" in path or not path.isprintable():
        return False
    return not path or not {"", ".", ".."} & {*path.split("/")}


def _decoded(glob: str) -> str:
    """Percent-decode a glob; a decoded wildcard stands for itself."""

    def plain(found: re.Match[str]) -> str:
        return _WILDCARD.sub(r"[\g<0>]", unquote(found[0]))

    return _ENCODED.sub(plain, glob)
