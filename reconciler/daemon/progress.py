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
) -> tuple[ProgressReader, Reports | None]:
    """Return the reader of progress, and the handlers of reports by HTTP.

    A replica that stands by takes no report: it knows of no run.
    """
    if setup.config.engine == "local":
        return LocalProgress(setup.root, local_buckets(setup)), None
    from reconciler.daemon.leader import reported_progress  # noqa: PLC0415 -- takes a second

    def attempt(name: str) -> int | None:
        daemon = current()
        run = daemon.runs().get(name) if daemon is not None else None
        return run.attempts if run is not None and run.live else None

    store = reported_progress(attempt)
    if setup.config.server.progress is None:
        return store, None
    return store, Reports(store=store, key=setup.report_key)
