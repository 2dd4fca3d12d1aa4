"""Progress of runs, for tables of objects."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from reconciler.config import Setup
from reconciler.engine import Progress
from reconciler.review import Latest


def local_progress(setup: Setup | None) -> Latest | None:
    """Return the reader of this machine's runs; None without any."""
    if setup is None or setup.config.engine != "local":
        return None
    return partial(_progress, setup.root)


def _progress(root: Path, run: str) -> Progress | None:
    from reconciler.engines.local import LocalProgress  # noqa: PLC0415 -- only while a run goes on

    return LocalProgress(root).latest(run)
