"""The end of runs on this machine's engine: ``cancel --now``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from reconciler.backoff import Backoff
from reconciler.cli.options import load
from reconciler.cli.recorded_state import RecordedState, StateReader
from reconciler.cli.select import one, only_key, with_removed
from reconciler.cli.terminal import tell
from reconciler.config import Setup
from reconciler.engines.local import LocalRun, live_runs
from reconciler.errors import UsageFault
from reconciler.git import GitError
from reconciler.reasons import ReasonCode
from reconciler.types import ObjectRef, TaskKey

#: Seconds for a command to end: 10 between TERM and KILL, and some for its files.
_PATIENCE = 30.0
_LOOK = Backoff(first=0.05, longest=0.5)


def end_now(
    name: str, cause: str, *, namespace: str | None, kind: str | None, config_file: Path
) -> None:
    """End the runs of an object or key, and report it.

    Raises ClickException where nothing runs, and UsageFault for another engine.
    """
    setup = load(config_file)
    if setup.config.engine != "local":
        raise UsageFault(
            "--now ends runs of the local engine alone, and this configuration has engine: "
            f"{setup.config.engine}; `reconciler cancel {name}` commits the cancellation, and the "
            "daemon then ends the Job"
        )
    live = list(live_runs(setup.root))
    ref, key = _selected(setup, live, name, namespace=namespace, kind=kind)
    runs = [run for run in live if run.object == ref and key in (None, run.key)]
    if not runs:
        raise click.ClickException(_nothing(setup, ref, key))
    for run in runs:
        try:
            run.end(cause)
        except OSError as error:
            raise click.ClickException(f"{ref}, {run.task}: it cannot be ended: {error}") from error
    _wait(runs)
    for run in runs:
        tell(f"{ref}: {run.task} {run.key[:12]} {_outcome(run)}.")
    tell(
        "Nothing was committed. The next sync records it as Failed, with the reason EndedByUser, "
        "and starts it again only after\n"
        f"  reconciler retry {ref.name} --commit      # goes on from what the command has left\n"
        "or a change of its params or settings."
    )


def _selected(
    setup: Setup, live: list[LocalRun], name: str, *, namespace: str | None, kind: str | None
) -> tuple[ObjectRef, TaskKey | None]:
    """Return the object of a name or key, and a named key.

    What runs may not be in the status yet.
    """
    key = only_key(name, {run.key for run in live})
    of_key = [run.object for run in live if run.key == key and run.object is not None]
    if of_key:
        return of_key[0], key
    try:
        state = StateReader(setup, Path()).read()
    except GitError:
        state = RecordedState()
    records = with_removed(state, name)
    refs = {*records, *(run.object for run in live if run.object is not None)}
    return one(refs, name=name, namespace=namespace, kind=kind, records=records), None


def _nothing(setup: Setup, ref: ObjectRef, key: TaskKey | None) -> str:
    """Return the message about an object of which nothing runs here."""
    of = f"the key {key[:12]} of {ref}" if key is not None else str(ref)
    return (
        f"no load, training or evaluation of {of} runs below {setup.root}; `reconciler status "
        f"{ref.name}` says how it is, and `reconciler suspend {ref.name}` keeps it from starting"
    )


def _wait(runs: list[LocalRun]) -> None:
    """Wait for the end of runs, for some time."""
    deadline, looks = time.monotonic() + _PATIENCE, 0
    while not all(run.ended for run in runs) and time.monotonic() < deadline:
        looks += 1
        time.sleep(_LOOK.delay(looks))


def _outcome(run: LocalRun) -> str:
    """Return what has become of a run."""
    if not run.ended:
        return "is asked to end, and does so before its command starts"
    state = run.record.state
    if state is not None and state.reason != ReasonCode.ENDED_BY_USER:
        return f"had ended before: {state.message or state.phase}"
    return "was ended; what its command has left stays"
