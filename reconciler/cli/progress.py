"""Progress of runs, for tables of objects."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reconciler.backoff import jittered
from reconciler.cli.terminal import tell
from reconciler.config import Setup
from reconciler.engine import EngineError, Progress
from reconciler.reasons import ReasonCode
from reconciler.review import Latest

#: Seconds between two reads of a cluster's progress, and for how long one is waited for.
LOOK_SECONDS = 10.0
PATIENCE = 5.0


def known_progress(setup: Setup | None) -> Latest | None:
    """Return the reader of this user's runs; None without any."""
    if setup is not None and setup.config.engine == "kubernetes":
        return _ClusterProgress(setup) if setup.config.server.progress is not None else None
    return local_progress(setup)


def local_progress(setup: Setup | None) -> Latest | None:
    """Return the reader of this machine's runs; None without any."""
    if setup is None or setup.config.engine != "local":
        return None
    return partial(_progress, setup.root)


def _progress(root: Path, run: str) -> Progress | None:
    from reconciler.engines.local import LocalProgress  # noqa: PLC0415 -- only while a run goes on

    return LocalProgress(root).latest(run)


@dataclass(slots=True)
class _ClusterProgress:
    """The progress of a cluster's runs, by its leader's Lease.

    Without a kubeconfig nothing is looked up, and without an answer it is said once.
    """

    setup: Setup
    _due: float = float("-inf")
    _found: Mapping[str, Progress] = field(default_factory=dict)
    _told: bool = False

    def __call__(self, run: str) -> Progress | None:
        """Return what a run has reported last."""
        if time.monotonic() >= self._due:
            self._look()
            self._due = time.monotonic() + jittered(LOOK_SECONDS)
        return self._found.get(run)

    def _look(self) -> None:
        import asyncio  # noqa: PLC0415 -- these two take a second

        from reconciler.daemon import noted_progress  # noqa: PLC0415

        try:
            self._found = asyncio.run(asyncio.wait_for(noted_progress(self.setup), PATIENCE))
        except TimeoutError:
            self._tell("the cluster does not answer")
        except EngineError as error:
            if error.reason.code is not ReasonCode.CLUSTER_NOT_FOUND:
                self._tell(str(error))

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            tell(f"Note: the progress of runs is not known: {why}", err=True)
