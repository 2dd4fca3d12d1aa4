"""Images and virtual environments under the engine's root, and what needs them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.engine import CollectedKind
from reconciler.engines.local.build import environment_of, image_result
from reconciler.engines.local.collection import DiskUsage, disk_usage, image_files
from reconciler.engines.local.layout import RootLayout
from reconciler.engines.local.records import ENVIRONMENT, read_record
from reconciler.engines.local.use import is_used, last_use
from reconciler.types import TaskKey


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEnvironment:
    """A complete environment or image in ``path``.

    ``builds`` are the keys of the images that need it; of an image, its own. ``used`` is the last
    use by any of them, ``running`` whether one is in use now. ``shared``: other sources with the
    same requirements get it too.
    """

    kind: CollectedKind
    path: Path
    finished: datetime
    used: datetime
    running: bool
    builds: frozenset[TaskKey]
    shared: bool = False

    def usage(self) -> DiskUsage:
        """Measure it on the disk."""
        return disk_usage(self.path)


def stored_environments(root: Path) -> Iterator[StoredEnvironment]:
    """Find the complete environments under a root, then the images, by name."""
    layout = RootLayout(root.absolute())
    images: list[StoredEnvironment] = []
    users: dict[str, list[StoredEnvironment]] = defaultdict(list)
    for folder in sorted(layout.images.glob("*")):
        image = layout.image(folder.name)
        if image_result(image) is None:
            continue  # a build is making it, or its environment is gone
        stored = StoredEnvironment(
            kind=CollectedKind.IMAGE,
            path=folder,
            finished=_time(image.record),
            used=last_use(layout, folder.name, *image_files(folder)),
            running=is_used(layout, folder.name),
            builds=frozenset({TaskKey(folder.name)}),
        )
        images.append(stored)
        users[environment_of(image) or ""].append(stored)
    for record in sorted(layout.envs.glob("[!.]*.json")):
        name = record.stem
        yield StoredEnvironment(
            kind=CollectedKind.ENVIRONMENT,
            path=layout.envs / name,
            finished=_time(record),
            used=max([last_use(layout, name, record), *(image.used for image in users[name])]),
            running=is_used(layout, name) or any(image.running for image in users[name]),
            builds=frozenset().union(*(image.builds for image in users[name])),
            shared=_is_shared(record),
        )
    yield from images


def _time(file: Path) -> datetime:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)


def _is_shared(record: Path) -> bool:
    with suppress(OSError, ValueError):
        return read_record(record, ENVIRONMENT).shared
    return False
