"""The supervisor of one run: ``python -m reconciler.engines.local.supervisor RUN_DIRECTORY``.

Started by the daemon, and independent of it from then on. Two may be started for one run (the
daemon was killed before it recorded the first); the lock lets one of them work, and one that is
started after the end finds the end in the state. A supervisor that finds a command begun by
another, which must have been lost, ends its processes and the run.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from reconciler.backoff import Backoff
from reconciler.engine import FailureClass
from reconciler.engines.local import build, command
from reconciler.engines.local import state as states
from reconciler.engines.local.control import Control, poke
from reconciler.engines.local.failures import RunFailedError
from reconciler.engines.local.fsync import read_json, remove_tree
from reconciler.engines.local.layout import RootLayout, RunDirectory
from reconciler.engines.local.locks import FileLock
from reconciler.engines.local.logs import DISK_FULL
from reconciler.engines.local.process import become_subreaper
from reconciler.engines.local.process_runtime import ProcessRuntime
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.runtime import Runtime
from reconciler.engines.local.spec import Allocation, SpecError, decode_spec, read_allocation
from reconciler.engines.local.state import RunState
from reconciler.reasons import Reason, ReasonCode

#: Seconds to try for the lock: a test of it takes it for an instant.
_PATIENCE = 2.0
#: Seconds between looks for room on a full disk.
_ROOM = Backoff(first=1.0, longest=1.0)


def main(directory: Path) -> int:
    """Supervise the run in a directory; 0 once its end is recorded."""
    run = RunDirectory(directory)
    layout = RootLayout(directory.parent.parent)
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


def _supervise(run: RunDirectory, layout: RootLayout) -> int:
    if not run.allocation.exists():
        # We were started for an earlier run of this name; this one is not to start yet.
        return 0
    control = Control(run)
    control.open()
    try:
        before = states.read(run.state)
    except ValueError:
        # Damaged by a loss of power: a command may have begun.
        before = RunState(tries=1)
    if before is not None and before.ended:
        return 0
    # The reason of the last time may no longer hold; only progress is kept.
    state = (before or RunState()).because(None)
    try:
        spec, _ = decode_spec(read_json(run.spec))
        allocation = read_allocation(run.allocation)
    except (OSError, ValueError, SpecError) as error:
        states.write(run.state, state.failed(_infrastructure(error), FailureClass.INFRASTRUCTURE))
        return 0
    context = RunContext(
        spec,
        allocation,
        layout,
        run,
        control,
        state,
        lost=state.tries > 0,
        runtime=runtime_of(allocation),
    )
    _record(context, _ended(context))
    remove_tree(layout.scratch(spec.name))
    return 0


def runtime_of(allocation: Allocation) -> Runtime:
    """Return the runtime of a run."""
    if allocation.containers is None:
        return ProcessRuntime()
    from reconciler.engines.local.container_runtime import (  # noqa: PLC0415 - not for processes
        ContainerRuntime,
    )

    return ContainerRuntime(allocation.containers)


def _record(run: RunContext, ended: RunState) -> None:
    """Write a run's end. A full disk is waited for.

    Without the record the next supervisor would take this one for lost. A run that is told to stop
    is not recorded.
    """
    while True:
        try:
            return run.save(ended)
        except OSError as error:
            if error.errno not in DISK_FULL or not run.control.wait(_ROOM.delay(1)):
                raise


def _ended(run: RunContext) -> RunState:
    """Execute the run. Return its final state, after any error too."""
    environ = dict(os.environ)
    try:
        execute = command.execute if run.spec.build is None else build.execute
        result = execute(run, environ)
    except RunFailedError as error:
        return run.state.failed(error.reason, error.failure, at=run.clock.now())
    except OSError as error:
        reason = _infrastructure(error)
        return run.state.failed(reason, FailureClass.INFRASTRUCTURE, at=run.clock.now())
    except Exception as error:  # noqa: BLE001 - a defect must end the run, not leave it hanging
        traceback.print_exc()
        detail = f"{error!r} in the supervisor; see {run.run.supervisor_log}"
        reason = Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=detail)
        return run.state.failed(reason, FailureClass.INFRASTRUCTURE, at=run.clock.now())
    return run.state.succeeded(result, at=run.clock.now())


def _infrastructure(error: Exception) -> Reason:
    detail = str(error)
    if isinstance(error, OSError) and error.strerror:
        detail = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    full = isinstance(error, OSError) and error.errno in DISK_FULL
    code = ReasonCode.DISK_FULL if full else ReasonCode.INFRASTRUCTURE_FAILED
    return Reason.of(code, detail=detail)


if __name__ == "__main__":
    os.chdir("/")
    code = main(Path(sys.argv[1]))
    sys.stderr.flush()
    # All is closed and recorded: to free all objects one by one takes a tenth of a short run.
    os._exit(code)
