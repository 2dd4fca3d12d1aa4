"""The progress of the runs of this replica's daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.config import Setup
from reconciler.daemon.status_page import local_buckets
from reconciler.engine import ProgressReader
from reconciler.engines.local import LocalProgress
from reconciler.web import Reports

if TYPE_CHECKING:
    from reconciler.daemon.controller import Daemon


def progress_of_runs(
    setup: Setup, current: Callable[[], Daemon | None]
) -> tuple[ProgressReader, Reports | None, Callable[[], str]]:
    """Return the reader of progress, report handlers, and the leader's note.

    Curves that are kept are read from beside their logs on both engines. A replica that stands
    by takes no report: it knows of no run.
    """
    local = LocalProgress(setup.root, local_buckets(setup))
    if setup.config.engine == "local":
        return local, None, str
    from reconciler.daemon.kept_curves import KeptCurves  # noqa: PLC0415
    from reconciler.daemon.leader import reported_progress  # noqa: PLC0415 -- takes a second
    from reconciler.engines.kubernetes import write_note  # noqa: PLC0415

    def attempt(name: str) -> int | None:
        daemon = current()
        run = daemon.runs().get(name) if daemon is not None else None
        return run.attempts if run is not None and run.live else None

    store = reported_progress(attempt)
    reader = KeptCurves(store, local, setup.own_cluster.buckets)
    if setup.config.server.progress is None:
        return reader, None, str
    return reader, Reports(store=store, key=setup.report_key), lambda: write_note(store.live())
