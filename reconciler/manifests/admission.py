"""Admission: what the manifests of a tree may name.

A namespace is a border between teams. No object writes where Kubernetes itself lives, takes over
the identity of another namespace's object, or mounts another namespace's artifacts by their URL;
references are the way to use what is another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.manifests.effects import FORMERLY_ANNOTATION
from reconciler.manifests.loader import Manifest, identity_of
from reconciler.manifests.sources import BucketSection
from reconciler.manifests.tenancy import Tenancy
from reconciler.manifests.yaml_nodes import Path
from reconciler.types import ObjectRef, Problem
from reconciler.urls import below, clusters_folder, namespace_folder

RESERVED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_NAMESPACE: Path = ("metadata", "namespace")
#: The local engine reads these as parts of a URL, and decodes a path.
_OTHER_FORMS = re.compile(r"^file:(?!///)|[%?#]")
_FORMERLY: Path = ("metadata", "annotations", FORMERLY_ANNOTATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The rules of one configuration.

    ``namespaces`` are those that the daemon serves; empty: all but those of Kubernetes, and None:
    namespaces are names only. ``own_namespace`` is that of the daemon's pod: a Job there can mount
    the daemon's Secrets, so it is served only if ``namespaces`` has it. ``artifacts`` are the URLs
    of the buckets that artifacts are written to, ``buckets`` of all configured ones.
    """

    cluster: str
    namespaces: tuple[str, ...] | None = None
    own_namespace: str | None = None
    artifacts: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    tenancy: Tenancy = field(default_factory=Tenancy)

    def problems(
        self, manifests: Mapping[ObjectRef, Manifest], objects: Mapping[ObjectRef, Manifest]
    ) -> Iterator[Problem]:
        """Find what some of a tree's objects may not name."""
        for manifest in manifests.values():
            yield from self._namespace(manifest)
            yield from self._formerly(manifest, objects)
            yield from self.tenancy.problems(manifest)
            for path, url in _bucket_urls(manifest):
                yield from self._url(manifest, path, url)

    def _namespace(self, manifest: Manifest) -> Iterator[Problem]:
        namespace = manifest.ref.namespace
        if self.namespaces is None or namespace in self.namespaces:
            return
        if self.namespaces:
            known = ", ".join(self.namespaces)
            message = f'namespace "{namespace}" is not one of kubernetes.namespaces: {known}'
            yield manifest.problem(_NAMESPACE, message)
        elif namespace in RESERVED_NAMESPACES:
            message = f'namespace "{namespace}" is that of Kubernetes itself'
            yield manifest.problem(_NAMESPACE, message)
        elif namespace == self.own_namespace:
            message = (
                f'namespace "{namespace}" is the daemon\'s own, with its credentials; '
                "it is served only where kubernetes.namespaces names it"
            )
            yield manifest.problem(_NAMESPACE, message)

    def _url(self, manifest: Manifest, path: Path, url: str) -> Iterator[Problem]:
        if url.startswith("file:") and _OTHER_FORMS.search(url):
            message = f"expected file:///path without a host, %, ? and #, found {url}"
            yield manifest.problem(path, message)
            return
        folder = _normal(url)
        for bucket in map(_normal, self.artifacts):
            if below(clusters_folder(bucket), folder) is not None:
                message = f"{url} has the artifacts of all namespaces in it; name a folder of data"
                yield manifest.problem(path, message)
                return
        for bucket in map(_normal, self.buckets):
            own = namespace_folder(bucket, self.cluster, manifest.ref.namespace)
            if below(folder, clusters_folder(bucket)) is not None and below(folder, own) is None:
                message = f"{url} has artifacts of another namespace; refer to the object instead"
                yield manifest.problem(path, message)
                return

    def _formerly(
        self, manifest: Manifest, objects: Mapping[ObjectRef, Manifest]
    ) -> Iterator[Problem]:
        cluster, former = identity_of(manifest, self.cluster)
        if former.namespace != manifest.ref.namespace:
            message = f"expected an object of namespace {manifest.ref.namespace}, found {former}"
            yield manifest.problem(_FORMERLY, message)
        elif former in objects and former != manifest.ref and cluster == self.cluster:
            message = f"{former} is still there; remove its manifest in the commit that renames it"
            yield manifest.problem(_FORMERLY, message)


def _bucket_urls(manifest: Manifest) -> Iterator[tuple[Path, str]]:
    source = getattr(manifest.document.spec.source, "bucket", None)
    if isinstance(source, BucketSection):
        yield ("spec", "source", "bucket", "url"), source.url
    load = manifest.document.spec.load
    if load.from_ is not None:
        yield ("spec", "load", "from", "url"), load.from_.url


def _normal(url: str) -> str:
    """A URL without empty parts and dots of its path."""
    scheme, _, rest = url.partition("://")
    host, *parts = rest.split("/")
    return "/".join([f"{scheme}://{host}", *(part for part in parts if part not in ("", "."))])
