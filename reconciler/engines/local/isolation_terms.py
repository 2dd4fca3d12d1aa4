"""The terms of isolation, in the allocation of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.engines.local.isolation import Isolation
from reconciler.engines.local.layout import RootLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationTerms:
    """The terms of isolated commands, in the allocation of a run.

    ``covered`` are files and folders with secrets. ``buckets`` stay, where they are below the root.
    """

    covered: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()

    def of(self, layout: RootLayout, own: Sequence[Path], *, build: bool) -> Isolation:
        """Return the isolation of a command that needs ``own`` of the root.

        All else of it but environments and buckets is covered. A build makes environments, and
        those of images are beside the images of others.
        """
        root = layout.root
        shared = {layout.envs, root / "buckets", *([layout.images] if build else [])}
        for bucket in self.buckets:
            path = Path(bucket).resolve()
            if path != root and path.is_relative_to(root):
                shared.add(root / path.relative_to(root).parts[0])
        others = (path for path in sorted(root.iterdir()) if path not in shared)
        return Isolation(
            covered=(*map(Path, self.covered), *others),
            kept=(*own, *sorted(shared)),
        )
