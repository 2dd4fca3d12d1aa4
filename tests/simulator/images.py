"""The images in the registry of a simulated cluster, by tag."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from reconciler.image_registry import RegistryError

#: Images that builds push begin so.
_BUILT = "registry.test/models/"


def reference(tag: str) -> str:
    """The reference by digest of the image that a build pushes with a tag."""
    return f"{tag.rpartition(':')[0]}@sha256:{hashlib.sha256(tag.encode()).hexdigest()}"


class Images(set[str]):
    """Tags; each is of an image of its own.

    ``deleted`` are the images that a collection has deleted, also those that were built again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deleted: set[str] = set()

    def sizes(self, images: Iterable[str]) -> dict[str, int | None]:
        """Answer as the registry does."""
        there = set(map(reference, self))
        return {image: 100 if image in there else None for image in images}

    def delete(self, image: str, tags: Iterable[str]) -> bool:
        """Delete an image with its tag, if these lead to it."""
        repository = image.rpartition("@")[0]
        for tag in (f"{repository}:{tag}" for tag in tags):
            if tag not in self or reference(tag) != image:
                raise RegistryError(f"the tag {tag} has another image", of_one=True)
        self -= {tag for tag in self if reference(tag) == image}
        self.deleted.add(image)
        return True

    def lack(self, image: str) -> bool:
        """Return whether an image was built, and is gone."""
        return image.startswith(_BUILT) and image not in map(reference, self)
