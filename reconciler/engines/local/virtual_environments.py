"""Virtual environments under the engine's root, and the images that use them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reconciler.engines.local.build import image_environments
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.layout import RootLayout
from reconciler.types import TaskKey


@dataclass(frozen=True, slots=True)
class StoredEnvironment:
    """A complete environment in ``path``.

    ``builds`` are the keys of the images that use it, as their own or below it.
    """

    path: Path
    finished: datetime
    builds: frozenset[TaskKey]

    def size(self) -> int:
        """Its bytes on the disk; of a file with several links, all."""
        total = 0
        for folder, _, files in os.walk(self.path):
            for name in files:
                with suppress(FileNotFoundError):
                    total += Path(folder, name).lstat().st_size
        return total


def stored_environments(root: Path) -> Iterator[StoredEnvironment]:
    """Find the complete environments under a root, by name."""
    layout = RootLayout(root.absolute())
    users: dict[Path, set[TaskKey]] = defaultdict(set)
    for folder in sorted(layout.images.glob("*")):
        with suppress(RunFailedError):  # not complete: another build is making it
            for path in image_environments(layout, layout.image(folder.name)):
                users[path].add(TaskKey(folder.name))
    for record in sorted(layout.envs.glob("*.json")):
        path = record.with_suffix("")
        finished = datetime.fromtimestamp(record.stat().st_mtime, UTC)
        yield StoredEnvironment(path, finished, frozenset(users[path]))
