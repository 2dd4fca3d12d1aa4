"""A trial of isolation on this machine.

It is a process of its own at each start of a daemon, so it imports what it launches and no more.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from reconciler.engines.local.failures import LaunchError
from reconciler.engines.local.isolation import Isolation
from reconciler.engines.local.launch import RankCommand, launch


def _try() -> str | None:
    """Run an isolated command. Return the cause of a failure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "folder")
        folder.mkdir()
        file = Path(name, "file")
        file.touch()
        command = RankCommand(
            argv=("true",),
            cwd=folder,
            env={"PATH": os.defpath},
            read_only=(folder,),
            isolation=Isolation(covered=(folder, file)),
        )
        try:
            launched = launch(command, ())
            launched.go()
            launched.confirm()
        except LaunchError as error:
            return error.detail
        except OSError as error:
            return str(error)
        os.waitpid(launched.identity.pid, 0)
        launched.close()
    return None


if __name__ == "__main__":
    problem = _try()
    if problem is not None:
        sys.stdout.write(f"{problem}\n")
    sys.exit(0 if problem is None else 1)
