"""A try of other params: ``run --once --set PATH=VALUE NAME``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import click

from reconciler.cli.exit_codes import ExitCode
from reconciler.cli.observed_run import ObservedRun, progress
from reconciler.cli.progress import local_progress
from reconciler.cli.select import one
from reconciler.cli.table import console
from reconciler.cli.terminal import tell
from reconciler.config import Setup
from reconciler.daemon import LocalTry, OncePatience, assemble_try, run_try, stop_on_signals
from reconciler.engine import Progress
from reconciler.engines.local import path_of, try_name
from reconciler.manifests import ParamChange
from reconciler.planner import ObjectStatus, TaskPhase
from reconciler.review import Latest, metric_texts, printable
from reconciler.types import ObjectRef, TaskKey
from reconciler.workspace import CommitSnapshot


@dataclass(slots=True)
class _Tried:
    """The parts of a try that its end is told by."""

    attempt: LocalTry | None = None
    stopped: bool = False
    changes: Sequence[ParamChange] = field(default_factory=tuple)


def try_once(
    setup: Setup,
    changes: Sequence[ParamChange],
    *,
    patience: float,
    name: str,
    namespace: str | None,
    kind: str | None,
) -> int:
    """Make an object with other params, and return the exit code.

    Raises ClickException for an unknown name, and ReconcilerError.
    """

    def select(head: CommitSnapshot, records: Mapping[ObjectRef, ObjectStatus]) -> ObjectRef:
        found = head.collection
        refs = {*found.objects, *found.invalid}
        ref = one(refs, name=name, namespace=namespace, kind=kind, records=records)
        problem = next((each for each in found.problems if each.object == ref), None)
        if problem is not None:
            raise click.ClickException(f"{ref} is Invalid: {problem}")
        return ref

    seen, screen, tried = ObservedRun(latest=_progress(setup)), console(), _Tried(changes=changes)

    async def execute() -> None:
        stop = stop_on_signals()
        tried.attempt = await assemble_try(setup, changes, select=select, observe=seen)
        await run_try(tried.attempt, once=OncePatience(patience), stop=stop)
        tried.stopped = stop.is_set()

    with progress(setup, screen, seen):
        asyncio.run(execute())
    attempt = tried.attempt
    assert attempt is not None
    if seen.records:
        screen.print(seen.table(compact=True))
    if tried.stopped or attempt.ref is None:
        click.echo("Stopped, and the run of the try was ended.", err=True)
        return ExitCode.INTERRUPTED
    for line in _report(seen.records[attempt.ref], attempt.local, changes):
        tell(line)
    for record in (waiting := seen.waiting()):
        tell(f"  {record.ref} waits: {record.message}")
    if seen.bad:
        return ExitCode.FAILURE
    return ExitCode.WAITING if waiting else ExitCode.FINE


def _progress(setup: Setup) -> Latest | None:
    """Return the reader of progress, of a try's runs first."""
    found = local_progress(setup)

    def latest(run: str) -> Progress | None:
        return (found(try_name(run)) or found(run)) if found is not None else None

    return latest


def _report(
    record: ObjectStatus, local: frozenset[TaskKey], changes: Sequence[ParamChange]
) -> Iterator[str]:
    """Yield what was tried, and what came of it."""
    given = ", ".join(f"{each.path}={json.dumps(each.value)}" for each in changes)
    message = f": {record.message}" if record.phase.value != "Ready" and record.message else ""
    yield f"\nTried {record.ref} with {printable(given)}. It is {record.phase}{printable(message)}"
    made = {
        entry.key: entry
        for entry in record.history
        if entry.artifact is not None and entry.phase is TaskPhase.SUCCEEDED
    }
    logs = {task.key: task.log for task in record.tasks if task.key is not None and task.log}
    keys = [task.key for task in record.tasks if task.key in made and task.key in local]
    for key in filter(None, keys):
        entry = made[key]
        metrics = ", ".join(metric_texts(entry.metrics))
        yield f"  {entry.task} {key[:12]} (local)  {metrics}".rstrip()
        yield f"    artifact: {_shown(entry.artifact or '')}"
        if key in logs:
            yield f"    log:      {_shown(logs[key] or '')}"
    for task in record.tasks:
        if task.phase is TaskPhase.FAILED:
            yield f"  {task.task} {(task.key or '')[:12]} failed: {printable(task.message)}"
            if task.log:
                yield f"    log:      {_shown(task.log)}"
    if keys:
        yield (
            "Nothing was committed, and the status is as it was. A sync of a commit with the same "
            f"params takes the artifact over; `reconciler compare {record.ref.name}` shows it."
        )


def _shown(url: str) -> str:
    """Return a place on this machine as a path."""
    return printable(str(path_of(url) or url))
