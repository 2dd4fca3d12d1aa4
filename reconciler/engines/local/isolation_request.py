"""The request for isolation, and what this machine allows."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import structlog

import reconciler
from reconciler.engines.local.environment import for_supervisor
from reconciler.engines.local.failures import LaunchError
from reconciler.engines.local.isolation_terms import IsolationTerms

_log = structlog.get_logger(__name__)
_MODULE = "reconciler.engines.local.isolation_trial"
_DEADLINE = 60.0
_PACKAGE = Path(reconciler.__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationRequest:
    """The configuration of isolation. ``secrets`` are files and folders, absolute."""

    mode: Literal["auto", "required", "none"] = "auto"
    secrets: tuple[Path, ...] = ()
    buckets: tuple[Path, ...] = ()

    def terms(self) -> IsolationTerms | None:
        """Try isolation. Return its terms; None without it.

        Raises LaunchError where it is required, and not possible.
        """
        if self.mode == "none":
            return None
        cause = obstacle()
        if cause is None:
            return IsolationTerms(
                covered=tuple(map(str, self.secrets)), buckets=tuple(map(str, self.buckets))
            )
        if self.mode == "required":
            raise LaunchError(
                f"local.isolation is required, and this machine does not allow it: {cause}"
            )
        return None

    def log(self, terms: IsolationTerms | None) -> None:
        """Log once what commands can do to the daemon."""
        if terms is not None:
            _log.info(
                "commands see neither other processes nor the daemon's secrets and state; other "
                "files, services and the network of this machine are open to them"
            )
            return
        _log.warning(
            "commands are not isolated: they can read what the daemon can, its secrets too, and "
            "end it",
            cause=obstacle() if self.mode == "auto" else "local.isolation is none",
        )


@cache
def obstacle() -> str | None:
    """Return the cause that forbids isolation on this machine, or None."""
    if sys.platform != "linux":
        return "it needs Linux"
    try:
        # A process of its own, as a daemon with threads cannot be forked safely.
        done = subprocess.run(
            [sys.executable, "-P", "-m", _MODULE],
            env=for_supervisor(os.environ, _PACKAGE),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DEADLINE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[-1] if lines else f"the trial ended with {done.returncode}"
