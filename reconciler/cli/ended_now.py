"""The end of runs at once, without a commit: ``cancel --now``."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import click

from reconciler.backoff import Backoff
from reconciler.cli.clone_planning import clock
from reconciler.cli.options import load
from reconciler.cli.recorded_state import RecordedState, StateReader
from reconciler.cli.select import keys_of, one, only_key, with_removed
from reconciler.cli.terminal import tell
from reconciler.config import Setup
from reconciler.engine import EndRequest
from reconciler.engines.local import LocalRun, live_runs
from reconciler.git import GitError
from reconciler.reasons import ReasonCode
from reconciler.review import seconds
from reconciler.types import ObjectRef, TaskKey, TaskKind

if TYPE_CHECKING:
    from reconciler.engines.kubernetes import ClusterRun

#: Seconds for a command to end: 10 between TERM and KILL, and some for its files.
_PATIENCE = 30.0
#: The same for pods: the longest grace period of the product's own, and some for the Job.
_POD_PATIENCE = 120.0
_LOOK = Backoff(first=0.05, longest=0.5)
_ENDED = "was ended; what its command has left stays"


class _LiveRun(Protocol):
    """A run that is under way."""

    @property
    def object(self) -> ObjectRef | None: ...
    @property
    def task(self) -> TaskKind: ...
    @property
    def key(self) -> TaskKey: ...
    @property
    def started(self) -> datetime | None: ...


R = TypeVar("R", bound=_LiveRun)


class _Runs(Protocol[R]):
    """The live runs of an engine, and their place.

    ``end`` returns what has become of each.
    """

    @property
    def place(self) -> str: ...
    def live(self) -> Sequence[R]: ...
    def end(self, runs: Sequence[R], cause: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The object or key that a user names."""

    name: str
    namespace: str | None
    kind: str | None


def end_now(
    name: str,
    cause: str,
    *,
    namespace: str | None,
    kind: str | None,
    dry_run: bool,
    config_file: Path,
) -> None:
    """End the runs of an object or key; with ``dry_run`` list them.

    Raises ClickException where nothing runs, and EngineError where a cluster refuses it.
    """
    setup = load(config_file)
    wanted, state = _Wanted(name, namespace, kind), _recorded(setup)
    if setup.config.engine == "local":
        _end(_LocalRuns(setup), state, wanted, cause, dry_run=dry_run)
    else:
        runs = _ClusterRuns(setup, _namespaces(setup, state, wanted))
        _end(runs, state, wanted, cause, dry_run=dry_run)


def _end(
    engine: _Runs[R], state: RecordedState, wanted: _Wanted, cause: str, *, dry_run: bool
) -> None:
    live = engine.live()
    ref, key = _selected(state, live, wanted)
    runs = [run for run in live if run.object == ref and key in (None, run.key)]
    if not runs:
        raise click.ClickException(_nothing(engine.place, ref, key))
    if dry_run:
        for run in runs:
            tell(f"{ref}: {run.task} {run.key[:12]} would be ended {_elapsed(run)}.")
        return
    outcomes = engine.end(runs, cause)
    for run, outcome in zip(runs, outcomes, strict=True):
        tell(f"{ref}: {run.task} {run.key[:12]} {outcome}.")
    tell(
        "Nothing was committed. The next sync records it as Failed, with the reason EndedByUser, "
        "and starts it again only after\n"
        f"  reconciler retry {ref.name} --commit      # goes on from what the command has left\n"
        "or a change of its params or settings."
    )


def _recorded(setup: Setup) -> RecordedState:
    """Return the recorded state, empty where it cannot be read."""
    try:
        return StateReader(setup, Path()).read()
    except GitError:
        return RecordedState()


def _selected(
    state: RecordedState, live: Sequence[_LiveRun], wanted: _Wanted
) -> tuple[ObjectRef, TaskKey | None]:
    """Return the object of a name or key, and a named key.

    What runs may not be in the status yet.
    """
    key = only_key(wanted.name, {run.key for run in live})
    of_key = [run.object for run in live if run.key == key and run.object is not None]
    if of_key:
        return of_key[0], key
    records = with_removed(state, wanted.name)
    refs = {*records, *(run.object for run in live if run.object is not None)}
    ref = one(refs, name=wanted.name, namespace=wanted.namespace, kind=wanted.kind, records=records)
    return ref, None


def _namespaces(setup: Setup, state: RecordedState, wanted: _Wanted) -> list[str | None]:
    """Return the namespaces whose Jobs are listed, as few as suffice."""
    if wanted.namespace is not None:
        return [wanted.namespace]
    known: set[str | None] = {
        ref.namespace
        for ref, record in {**state.removed, **state.records}.items()
        if ref.name == wanted.name or any(key.startswith(wanted.name) for key in keys_of(record))
    }
    return list(known) or [*setup.config.kubernetes.namespaces] or [None]


def _nothing(place: str, ref: ObjectRef, key: TaskKey | None) -> str:
    """Return the message about an object of which nothing runs there."""
    of = f"the key {key[:12]} of {ref}" if key is not None else str(ref)
    return (
        f"no load, training or evaluation of {of} runs {place}; `reconciler status "
        f"{ref.name}` says how it is, and `reconciler suspend {ref.name}` keeps it from starting"
    )


def _elapsed(run: _LiveRun) -> str:
    if run.started is None:
        return "before its command starts"
    return f"after {seconds((clock() - run.started).total_seconds())}"


class _LocalRuns:
    """The runs on this machine."""

    def __init__(self, setup: Setup) -> None:
        self._root = setup.root
        self.place = f"below {setup.root}"

    def live(self) -> list[LocalRun]:
        return list(live_runs(self._root))

    def end(self, runs: Sequence[LocalRun], cause: str) -> list[str]:
        request = EndRequest(by=_user(), at=clock(), cause=cause)
        for run in runs:
            try:
                run.end(request)
            except OSError as error:
                what = f"{run.object}, {run.task}: it cannot be ended: {error}"
                raise click.ClickException(what) from error
        deadline, looks = time.monotonic() + _PATIENCE, 0
        while not all(run.ended for run in runs) and time.monotonic() < deadline:
            looks += 1
            time.sleep(_LOOK.delay(looks))
        return [self._outcome(run) for run in runs]

    @staticmethod
    def _outcome(run: LocalRun) -> str:
        if not run.ended:
            return "is asked to end, and does so before its command starts"
        state = run.record.state
        if state is not None and state.reason != ReasonCode.ENDED_BY_USER:
            return f"had ended before: {state.message or state.phase}"
        return _ENDED


def _user() -> str:
    """Return the name of this machine's user; empty without one."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""


class _ClusterRuns:
    """The runs in some namespaces of the cluster that the configuration names."""

    def __init__(self, setup: Setup, namespaces: list[str | None]) -> None:
        # The client takes a second to import, which a commit has no use for.
        from reconciler.daemon import cluster_runs  # noqa: PLC0415

        self._runs = cluster_runs(setup)
        self._namespaces = namespaces
        where = " and ".join(each for each in namespaces if each is not None)
        self.place = f"in the namespace {where}" if where else "in the cluster"

    def live(self) -> list[ClusterRun]:
        return asyncio.run(self._runs.live(self._namespaces))

    def end(self, runs: Sequence[ClusterRun], cause: str) -> list[str]:
        ended = asyncio.run(self._runs.end(runs, cause, now=clock(), patience=_POD_PATIENCE))
        return [self._outcome(run) for run in ended]

    @staticmethod
    def _outcome(run: ClusterRun) -> str:
        if not run.ended:
            return f"is asked to end; after {_POD_PATIENCE:g} s its pods have not"
        return "had ended before: it is complete" if run.complete else _ENDED
