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

from reconciler.planner.planner_config import RemoteCluster
from reconciler.types import ForeignRef, Hash, Metrics, TaskKey
from reconciler.urls import NODE_BOUND, Address, admits_bucket, admits_image

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://[A-Za-z0-9][A-Za-z0-9._-]*(?P<path>(?:/[^/]+)*)/?"
)
_UNSAFE = re.compile(r"[\s?#%\\,:@\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteArtifact:
    """A complete artifact of another cluster, as its status has it.

    ``image`` is the reference of the image it was made in, ``image_key`` the build key or digest
    that stands for it in keys. ``metrics`` are shown, and decide nothing.
    """

    key: TaskKey
    url: str
    image_key: Hash | None = None
    image: str | None = None
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteObject:
    """An object of another cluster: its current artifact, and all recorded ones."""

    phase: str
    current: RemoteArtifact | None = None
    artifacts: Mapping[TaskKey, RemoteArtifact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No knowledge of another cluster's object now, for the cause in ``detail``."""

    detail: str


#: What is known of the objects of other clusters that manifests refer to.
RemoteStatus = Mapping[ForeignRef, RemoteObject | Unavailable]


def refused(artifact: RemoteArtifact, cluster: RemoteCluster, *, image: bool) -> str | None:
    """Return the reason to refuse a remote artifact, or None.

    ``image``: whether its image is to be used too.
    """
    return _refused_url(artifact.url, cluster) or (
        _refused_image(artifact, cluster) if image else None
    )


def _refused_url(url: str, cluster: RemoteCluster) -> str | None:
    found = _URL.fullmatch(url)
    if url.partition("://")[0] in NODE_BOUND:
        return f"its artifact {url} is bound to a node of that cluster; expected a bucket"
    parts = found["path"].split("/") if found else []
    if found is None or _UNSAFE.search(url.partition("://")[2]) or {".", ".."} & {*parts}:
        return f"its artifact {url!r:.200} is no bucket URL such as s3://bucket/path"
    if not admits_bucket(url, cluster.buckets, below=True):
        return f"its artifact {url} is in no bucket that clusters allows"
    return None


def _refused_image(artifact: RemoteArtifact, cluster: RemoteCluster) -> str | None:
    if artifact.image is None or artifact.image_key is None:
        return "its status names no image"
    found = Address.of_image(artifact.image)
    if found is None or found.digest is None:
        return f"its image {artifact.image!r:.200} is not pinned by digest"
    if artifact.image_key.startswith("sha256:") and artifact.image_key != found.digest:
        return f"its image {artifact.image} is not the one that its key was made with"
    if not admits_image(artifact.image, cluster.registries, below=True):
        return f"its image {artifact.image} is in no registry that clusters allows"
    return None
