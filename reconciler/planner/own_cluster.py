"""Names that this cluster's own status branch may have. Pure.

Whoever may push to the branch writes what this daemon reads at its start. So an artifact is
believed only at the place that this daemon would have chosen for its key, an image only where this
daemon's builds push or where manifests may name it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.manifests import NAME
from reconciler.types import Hash, Kind, TaskKey, TaskKind
from reconciler.urls import Address, admits_image, below, namespace_folder

_NAME = NAME.strip("^$")
_DIGEST = r"sha256:[0-9a-f]{64}"
#: Below an object's namespace, in a bucket: its artifacts, by key.
_ARTIFACT = re.compile(
    rf"(?:{'|'.join(kind.plural for kind in Kind)})/{_NAME}/(?P<evaluation>evaluations/)?"
    r"(?P<key>[0-9a-f]{40})/?"
)
_KEY = re.compile("[0-9a-f]{40}")
_LOG = re.compile(r"logs/attempt-[0-9]{1,9}\.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCluster:
    """The places of this cluster's artifacts, images and logs.

    ``buckets`` are URLs. ``registry`` is what builds push to, as in ``registry.url``, and
    ``image_folder`` the URL of the folder that the local engine has images in; None without one.
    ``run_folder`` is the URL of the local engine's runs. ``allow_images`` are globs.
    """

    cluster: str
    buckets: tuple[str, ...] = ()
    registry: str | None = None
    image_folder: str | None = None
    run_folder: str | None = None
    allow_images: tuple[str, ...] = ()

    def is_artifact(self, url: str, namespace: str, key: TaskKey, task: TaskKind) -> bool:
        """Return whether the result of a load, training or evaluation is there.

        That of an object that was renamed is below its former name, in the same namespace.
        """
        return any(
            (found := _ARTIFACT.fullmatch(inside)) is not None
            and found["key"] == key
            and (found["evaluation"] is not None) is (task is TaskKind.EVALUATE)
            for inside in self._inside(url, namespace)
        )

    def is_built_image(self, image: str, key: Hash) -> bool:
        """Return whether a build of the key may have made the image."""
        if self.image_folder is not None and image == f"{self.image_folder}/{key}":
            return True
        if self.registry is None:
            return False
        form = rf"{re.escape(self.registry)}/{_NAME}@{_DIGEST}"
        return re.fullmatch(form, image) is not None

    def is_pushed_image(self, image: str, namespace: str) -> bool:
        """Return whether builds of a namespace push to the image's repository."""
        if self.registry is None:
            return False
        return re.fullmatch(rf"{re.escape(self.registry)}/{namespace}@{_DIGEST}", image) is not None

    def is_image(self, image: str, key: Hash) -> bool:
        """Return whether an artifact may have been made in this image.

        ``key`` is that of the image's build, or the digest of one that a manifest named.
        """
        folder, _, name = image.rpartition("/")
        if not key.startswith("sha256:") and folder == self.image_folder:
            return _KEY.fullmatch(name) is not None  # a tenant's build has a key of its own
        if not key.startswith("sha256:"):
            return self.is_built_image(image, key)
        found = Address.of_image(image)
        named = found is not None and found.digest == key
        return named and admits_image(image, self.allow_images)

    def is_log(self, url: str, namespace: str) -> bool:
        """Return whether a run of the namespace may log there."""
        if self.run_folder is not None and (inside := below(url, self.run_folder)) is not None:
            return _is_plain(inside)
        for inside in self._inside(url, namespace):
            place = _ARTIFACT.match(inside)
            if place is not None and _LOG.fullmatch(inside[place.end() :].lstrip("/")):
                return True
        return False

    def _inside(self, url: str, namespace: str) -> list[str]:
        """Return the URL's rest in the namespace's folder of each bucket."""
        folders = (
            namespace_folder(bucket.rstrip("/"), self.cluster, namespace) for bucket in self.buckets
        )
        return [inside for each in folders if (inside := below(url, each)) is not None]


def _is_plain(path: str) -> bool:
    return not {"", ".", ".."} & {*path.split("/")} and "%" not in path
