"""The supervisor of one run: ``python -m reconciler.engines.local.supervisor RUN_DIRECTORY``.

Started by the daemon, and independent of it from then on. Two may be started for one run (the
daemon was killed before it knew); the lock lets one of them work, and one that is started when
the run has ended finds that written down. One that finds a command begun by another supervisor,
which must have been lost, ends what is left of it and the run with it.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from reconciler.engine import FailureClass
from reconciler.engines.local import build
from reconciler.engines.local import command as produce
from reconciler.engines.local import state as states
from reconciler.engines.local.claim import StillRunningError
from reconciler.engines.local.control import Control, poke
from reconciler.engines.local.environment import SecretError
from reconciler.engines.local.fsync import remove_tree
from reconciler.engines.local.job import JobError, read_job
from reconciler.engines.local.launch import CommandError, LaunchError
from reconciler.engines.local.layout import Layout, RunDirectory
from reconciler.engines.local.locks import FileLock
from reconciler.engines.local.marker import ArtifactError
from reconciler.engines.local.process import become_subreaper
from reconciler.engines.local.run_context import Carrier, RunFailedError, StoppedError
from reconciler.engines.local.state import State
from reconciler.engines.local.venv import RequirementsError

#: Seconds to try for the lock: looks at it take it for an instant.
_PATIENCE = 2.0


def main(directory: Path) -> int:
    """Supervise the run in a directory; 0 once its end is written down, by whomever."""
    run = RunDirectory(directory)
    layout = Layout(directory.parent.parent)
    try:
        lock = FileLock.take(run.lock, patience=_PATIENCE)
    except FileNotFoundError:
        return 0  # the run has been removed while we started
    if lock is None:
        return 0
    try:
        os.umask(0o022)
        become_subreaper()
        return _supervise(run, layout)
    finally:
        lock.release()
        poke(layout.notify)


def _supervise(run: RunDirectory, layout: Layout) -> int:
    if not run.grant.exists():
        # We were started for an earlier run of this name; this one is not to start yet.
        return 0
    control = Control(run)
    control.open()
    try:
        before = states.read(run.state)
    except ValueError:
        # Damaged by a loss of power: a command may have begun.
        before = State(tries=1)
    if before is not None and before.ended:
        return 0
    # What was asked for last time may no longer hold; only what has happened is kept.
    state = replace(before or State(), reason="")
    try:
        job = read_job(run.job)
    except (OSError, JobError) as error:
        states.write(run.state, state.failed(_say(error), FailureClass.INFRASTRUCTURE))
        return 0
    carrier = Carrier(job, layout, run, control, state, lost=state.tries > 0)
    carrier.save(_ended(carrier))
    remove_tree(layout.scratch(job.name))
    return 0


def _ended(run: Carrier) -> State:
    """Carry the run out, whatever happens, to the state it ends in."""
    environ = dict(os.environ)
    try:
        carry_out = build.carry_out if run.job.is_build else produce.carry_out
        result = carry_out(run, environ)
    except RunFailedError as error:
        reason, failure = str(error), error.failure
    except (CommandError, RequirementsError, ArtifactError) as error:
        reason, failure = str(error), FailureClass.COMMAND
    except (StoppedError, SecretError, LaunchError, StillRunningError, OSError) as error:
        reason, failure = _say(error), FailureClass.INFRASTRUCTURE
    except Exception as error:  # noqa: BLE001 - a defect must end the run, not leave it hanging
        traceback.print_exc()
        reason = f"{error!r} in the supervisor; see {run.run.supervisor_log}"
        failure = FailureClass.INFRASTRUCTURE
    else:
        return run.state.succeeded(result)
    return run.state.failed(reason, failure)


def _say(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


if __name__ == "__main__":
    os.chdir("/")
    sys.exit(main(Path(sys.argv[1])))
