"""Images that objects need. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.planner.object_status import ObjectStatus
from reconciler.types import TaskKind


def images_in_use(record: ObjectStatus) -> frozenset[str]:
    """Return the images that an object needs, or may need at once.

    Each is a build key or an image's reference. They are its own builds, desired or running, the
    image that its tasks run in, and that of its current artifact. Images of its history are not
    needed: a revert to a complete artifact runs nothing.
    """
    own = (task for task in record.tasks if task.task is TaskKind.BUILD)
    found = [record.image, *(key for task in own for key in (task.key, task.run_key))]
    if record.artifact is not None:
        found += [record.artifact.image_key, record.artifact.image]
    return frozenset(image for image in found if image is not None)


def all_images_in_use(records: Iterable[ObjectStatus]) -> frozenset[str]:
    """Return the images that any of the objects needs."""
    return frozenset[str]().union(*map(images_in_use, records))
