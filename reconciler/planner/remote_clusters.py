"""Artifacts of other clusters, and the allow-lists they must match. Pure.

Another cluster's status is untrusted input: those who may write there may be another team, or an
attacker. So an artifact of it is used only where this daemon's own configuration
allows the registry of its image and the bucket of its files, and nothing that it says of a key
counts for any task of this cluster: it goes with the reference that asked for it, and no further.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.patterns import NODE_BOUND, Address, admits_bucket, admits_image
from reconciler.planner.keys import Hash
from reconciler.types import ForeignRef, TaskKey

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://[A-Za-z0-9][A-Za-z0-9._-]*(?P<path>(?:/[^/]+)*)/?"
)
_UNSAFE = re.compile(r"[\s?#%\\,:@\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class RemoteCluster:
    """Another cluster's allow-lists: globs over image names and bucket URLs."""

    registries: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteArtifact:
    """A complete artifact of another cluster, as its status has it.

    ``image`` is the reference of the image it was made in, ``image_key`` the build key or digest
    that stands for it in keys.
    """

    key: TaskKey
    url: str
    image_key: Hash | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteObject:
    """An object of another cluster: its current artifact, and all recorded ones.

    ``follows`` are the objects of other clusters that it is made from in turn.
    """

    phase: str
    current: RemoteArtifact | None = None
    offers: Mapping[TaskKey, RemoteArtifact] = field(default_factory=dict)
    follows: frozenset[ForeignRef] = frozenset()


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No knowledge of another cluster's object now, for the cause in ``detail``."""

    detail: str


#: What is known of the objects of other clusters that manifests refer to.
RemoteStatus = Mapping[ForeignRef, RemoteObject | Unavailable]


def refused(offer: RemoteArtifact, peer: RemoteCluster, *, image: bool) -> str | None:
    """Return the reason to refuse a remote artifact, or None.

    ``image``: whether its image is to be used too.
    """
    return _refused_url(offer.url, peer) or (_refused_image(offer, peer) if image else None)


def _refused_url(url: str, peer: RemoteCluster) -> str | None:
    found = _URL.fullmatch(url)
    if url.partition("://")[0] in NODE_BOUND:
        return f"its artifact {url} is bound to a node of that cluster; expected a bucket"
    parts = found["path"].split("/") if found else []
    if found is None or _UNSAFE.search(url.partition("://")[2]) or {".", ".."} & {*parts}:
        return f"its artifact {url!r:.200} is no bucket URL such as s3://bucket/path"
    if not admits_bucket(url, peer.buckets, below=True):
        return f"its artifact {url} is in no bucket that clusters allows"
    return None


def _refused_image(offer: RemoteArtifact, peer: RemoteCluster) -> str | None:
    if offer.image is None or offer.image_key is None:
        return "its status names no image"
    found = Address.of_image(offer.image)
    if found is None or found.digest is None:
        return f"its image {offer.image!r:.200} is not pinned by digest"
    if offer.image_key.startswith("sha256:") and offer.image_key != found.digest:
        return f"its image {offer.image} is not the one that its key was made with"
    if not admits_image(offer.image, peer.registries, below=True):
        return f"its image {offer.image} is in no registry that clusters allows"
    return None
