"""The daemon: syncs one manifest repository until it is stopped.

The exported names are imported at their first use: a command that only reads the log of a pod
does not load the web server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.daemon.app import assemble_try, run_daemon
    from reconciler.daemon.leader import (
        cluster_runs,
        followed_pod_logs,
        noted_progress,
        pod_logs,
        restore_by_job,
    )
    from reconciler.daemon.local_try import LocalTry, run_try
    from reconciler.daemon.logging import configure_logging
    from reconciler.daemon.once import PATIENCE, OncePatience, StillWaitingError
    from reconciler.daemon.shutdown import stop_on_signals

__all__ = [
    "PATIENCE",
    "LocalTry",
    "OncePatience",
    "StillWaitingError",
    "assemble_try",
    "cluster_runs",
    "configure_logging",
    "followed_pod_logs",
    "noted_progress",
    "pod_logs",
    "restore_by_job",
    "run_daemon",
    "run_try",
    "stop_on_signals",
]

_MODULE_OF = {
    "PATIENCE": "once",
    "LocalTry": "local_try",
    "OncePatience": "once",
    "StillWaitingError": "once",
    "assemble_try": "app",
    "cluster_runs": "leader",
    "configure_logging": "logging",
    "followed_pod_logs": "leader",
    "noted_progress": "leader",
    "pod_logs": "leader",
    "restore_by_job": "leader",
    "run_daemon": "app",
    "run_try": "local_try",
    "stop_on_signals": "shutdown",
}
__getattr__ = lazy_exports(__name__, _MODULE_OF)
