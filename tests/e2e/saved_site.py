"""A site that the tests of a module begin with: made once, and put back before each.

It stays in its folder, as the addresses of artifacts are absolute paths.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from pathlib import Path

from reconciler.engines.local.fsync import remove_tree
from tests.e2e.site import Site
from tests.processes import run


@dataclass(frozen=True)
class SavedSite:
    """A site, and a copy of its folder as it was then."""

    site: Site
    saved: Path

    @classmethod
    def of(cls, site: Site) -> SavedSite:
        saved = site.root.with_name(f"{site.root.name}.saved")
        _copy(site.root, saved)
        return cls(site, saved)

    def restored(self) -> Site:
        """The site as it was saved, whatever has become of it."""
        remove_tree(self.site.root)
        _copy(self.saved, self.site.root)
        return copy(self.site)


def _copy(folder: Path, to: Path) -> None:
    """With its pipes, links and modes."""
    run(["cp", "-a", folder, to], check=True)
