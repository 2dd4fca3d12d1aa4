"""Start and reaping of supervisors, which outlive the daemon."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import reconciler
from reconciler.engines.local.environment import for_supervisor
from reconciler.engines.local.layout import RunDirectory

_MODULE = "reconciler.engines.local.supervisor"
_PACKAGE = Path(reconciler.__file__).resolve().parent.parent
#: The daemon may ignore these; a supervisor starts with the usual meaning.
_DEFAULT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)


@dataclass(slots=True)
class Supervisors:
    """The supervisors that this process started and has not reaped, by run."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _pids: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._pids)

    def start(self, run: RunDirectory) -> None:
        """Start one, detached, in a session of its own. Raises OSError."""
        log = str(run.supervisor_log)
        # Not subprocess: a Popen insists on being waited for, and this is meant to be left.
        self._pids[run.name] = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", _MODULE, str(run.path)],
            for_supervisor(self.environ, _PACKAGE),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT,
        )

    def running(self, name: str) -> bool:
        """Return true while the supervisor that was started for a run lives."""
        return name in self._pids

    def reap(self) -> None:
        """Reap the supervisors that have ended."""
        for name, pid in list(self._pids.items()):
            try:
                ended, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended = pid
            if ended:
                del self._pids[name]
