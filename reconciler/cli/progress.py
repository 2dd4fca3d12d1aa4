"""Progress of runs, for tables of objects."""

from __future__ import annotations

from reconciler.config import Setup
from reconciler.engines.local import LocalProgress
from reconciler.review import Latest


def local_progress(setup: Setup | None) -> Latest | None:
    """Return the reader of this machine's runs; None without any."""
    if setup is None or setup.config.engine != "local":
        return None
    return LocalProgress(setup.root).latest
