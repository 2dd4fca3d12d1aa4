"""Deletion of images from the registry that builds push to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from reconciler.engine import Collected, CollectedKind
from reconciler.image_registry import ImageRegistry, RegistryError
from reconciler.planner import RetainedArtifact
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRemover:
    """Deletes images, each with all its builds.

    ``lock`` is that of the syncs. ``recorded`` returns the complete artifacts of all records,
    ``is_asked_for`` whether one must be left alone by now. ``removed`` and ``failed`` note a step.
    """

    registry: ImageRegistry
    lock: asyncio.Lock
    recorded: Callable[[], Mapping[TaskKey, RetainedArtifact]]
    is_asked_for: Callable[[RetainedArtifact], bool]
    removed: Callable[[TaskKey], None]
    failed: Callable[[RegistryError], None]

    async def remove(
        self, images: Iterable[RetainedArtifact]
    ) -> tuple[list[Collected], list[Reason]]:
        """Delete images, until the registry refuses to delete any.

        Return what was removed, and the refusals.
        """
        removed, refused = list[Collected](), dict[Reason, None]()
        for image in {image.url: image for image in images}.values():
            async with self.lock:
                # A build since may have made the same image.
                builds = [build for build in self.recorded().values() if build.url == image.url]
                if not builds or any(map(self._is_needed, builds)):
                    continue
                tags = [build.key for build in builds]
                try:
                    whole = await asyncio.to_thread(self.registry.delete, image.url, tags)
                except RegistryError as error:
                    self.failed(error)
                    refused[Reason.of(ReasonCode.IMAGES_KEPT, detail=str(error))] = None
                    if not error.of_one:
                        break
                    continue
                for build in builds:
                    self.removed(build.key)
            kind, freed = CollectedKind.IMAGE, image.size if whole else 0
            removed.append(Collected(kind=kind, name=image.key, freed=freed, used=image.made))
        return removed, [*refused]

    def _is_needed(self, build: RetainedArtifact) -> bool:
        """Return whether the image of a build must be left alone."""
        return build.hidden is None or self.is_asked_for(build)
