"""``reconciler run``."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import click
import structlog

from reconciler.backoff import jittered
from reconciler.cli.collected import CollectedArtifacts, collected_line
from reconciler.cli.exit_codes import ExitCode
from reconciler.cli.observed_run import ObservedRun, configure_logs, progress
from reconciler.cli.options import config_option, load, seconds
from reconciler.cli.progress import local_progress
from reconciler.cli.select import kind_option, name_argument, namespace_option
from reconciler.cli.table import console
from reconciler.cli.terminal import tell, visible
from reconciler.cli.tries import try_once
from reconciler.config import ConfigError, Setup
from reconciler.daemon import (
    PATIENCE,
    OncePatience,
    StillWaitingError,
    run_daemon,
    stop_on_signals,
)
from reconciler.errors import ReconcilerError, UsageFault
from reconciler.manifests import LARGEST_FILE, ParamChange
from reconciler.planner import ObjectStatus, Phase, Plan, TaskAction, TaskPhase
from reconciler.reasons import ReasonCode, remedy
from reconciler.review import failure_remedy, log_command, variant_text
from reconciler.web import ListenError

log = structlog.get_logger(__name__)

#: Seconds between two looks at the configuration file.
CONFIG_INTERVAL = 1.0


@click.command()
@name_argument(required=False)
@config_option
@click.option(
    "--once",
    is_flag=True,
    help="Sync until every object is complete, failed or cannot go on; then exit.",
)
@click.option(
    "--patience",
    metavar="DURATION",
    callback=seconds,
    default=f"{PATIENCE:g}s",
    show_default=True,
    help="With --once: how long to wait, while nothing runs, for retries, sources and capacity.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PATH=VALUE",
    help="With --once and NAME, on the local engine: try another value of a param, such as "
    "training.params.lr=0.1, without a commit; may be given several times.",
)
@namespace_option
@kind_option
def run(
    name: str | None,
    config_file: Path,
    once: bool,
    patience: float,
    changes: tuple[str, ...],
    namespace: str | None,
    kind: str | None,
) -> None:
    """Run the daemon: sync after every push, until it is stopped.

    A sync reads the manifests of the configured branch, starts the builds, loads and trainings that
    are missing, and commits the status. SIGTERM and Ctrl-C stop the daemon, but no build or
    training: these go on, and the next start of the daemon finds them again.

    With --once and --set, NAME alone is made with other params, and what it needs; the first 6 or
    more digits of a recorded key stand for its object. This is a try: its artifact has a key of its
    own and a marker that says local, nothing is committed, and the status does not change. A sync
    of a commit with the same params takes the artifact over. Ctrl-C ends the run of a try.

    \b
    Exit codes with --once:
      0  every object is Ready, Suspended or Held
      1  an object is Failed or Invalid, or the status could not be pushed
      3  an object still waits, as for a GPU that is not there; the output lists the causes
     64  the command or the configuration is wrong
    """  # noqa: D301 - click's \b is the character
    with suppress(OSError, RuntimeError):  # standard error is closed, or no file
        faulthandler.enable()  # a crash in a C library says where
    setup = load(config_file)
    if name is not None or changes or namespace is not None or kind is not None:
        sys.exit(_try(setup, name, namespace, kind, changes, once=once, patience=patience))
    if once:
        sys.exit(_once(setup, patience))
    configure_logs(setup)
    asyncio.run(_serve(config_file, setup, was_there=config_file.exists()))


def _try(
    setup: Setup,
    name: str | None,
    namespace: str | None,
    kind: str | None,
    changes: tuple[str, ...],
    *,
    once: bool,
    patience: float,
) -> int:
    """Try other params; return the exit code. Raises UsageError and ReconcilerError."""
    if not once or name is None or not changes:
        raise click.UsageError(
            "a try needs all three of --once, --set PATH=VALUE and NAME; without NAME, everything "
            "is synced"
        )
    return try_once(
        setup,
        [ParamChange.parse(change) for change in changes],
        patience=patience,
        name=name,
        namespace=namespace,
        kind=kind,
    )


def _once(setup: Setup, patience: float) -> int:
    seen, screen = ObservedRun(latest=local_progress(setup)), console()
    collected = CollectedArtifacts.read(setup)
    try:
        with progress(setup, screen, seen):
            stopped = asyncio.run(_run_once(setup, patience, seen))
    except StillWaitingError as error:
        tell(f"Waited in vain: {error}.", err=True)
        return ExitCode.WAITING
    except ReconcilerError:
        if seen.records:
            screen.print(seen.table())  # the runs were made, although their status was not pushed
        raise
    screen.print(seen.table(compact=True))  # what is cut of it is whole below
    for problem in seen.errors:
        text = visible(f"error: {problem}")
        screen.print(text, style="red", markup=False, highlight=False)
    if stopped:
        click.echo("Stopped; what runs goes on, and the next start takes it up.", err=True)
        return ExitCode.INTERRUPTED
    _print_end(setup, seen, collected)
    if seen.bad:
        return ExitCode.FAILURE
    return ExitCode.WAITING if seen.waiting() else ExitCode.FINE


def _print_end(setup: Setup, seen: ObservedRun, before: CollectedArtifacts | None) -> None:
    """Print what needs a user, what waits, and what was collected."""
    for number, line in enumerate(attention(seen.records.values(), seen.plan)):
        tell(line if number else f"\nThese need attention:\n{line}")
    waiting = seen.waiting()
    if waiting:
        click.echo("\nThese wait for what this run cannot bring:")
    for line in waiting_lines(waiting):
        tell(line)
    for line in variant_warnings(seen.records.values()):
        tell(line, err=True)
    if (text := collected_line(before, setup)) is not None:
        click.echo(text)


async def _run_once(setup: Setup, patience: float, observe: ObservedRun) -> bool:
    stop = stop_on_signals()
    await run_daemon(setup, once=OncePatience(patience), stop=stop, observe=observe)
    return stop.is_set()


async def _serve(config_file: Path, setup: Setup, *, was_there: bool) -> None:
    stop = stop_on_signals()
    before: Setup | None = None
    refused: Setup | None = None
    while not stop.is_set():
        changed = asyncio.Event()
        setups: list[Setup] = [setup]
        watcher = asyncio.create_task(
            _watch_config(config_file, setup, setups, changed, was_there=was_there, refused=refused)
        )
        end = asyncio.Event()
        ender = asyncio.create_task(_either(stop, changed, then=end))
        try:
            await run_daemon(setup, stop=end)
        except (UsageFault, ListenError) as error:  # both only ever at its beginning
            if before is None:
                raise
            log.warning(
                "the changed configuration cannot be used; the old one stays", error=str(error)
            )
            setup, refused, before = before, setup, None
            configure_logs(setup)
            continue
        finally:
            for task in (watcher, ender):
                task.cancel()
            await asyncio.gather(watcher, ender, return_exceptions=True)
        if not changed.is_set():
            return
        before, setup, refused = setup, setups[-1], None
        configure_logs(setup)
        log.info("configuration changed; starting with it")


async def _either(*events: asyncio.Event, then: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        then.set()
    finally:
        for wait in waits:
            wait.cancel()


async def _watch_config(
    config_file: Path,
    setup: Setup,
    setups: list[Setup],
    changed: asyncio.Event,
    *,
    was_there: bool,
    refused: Setup | None = None,
) -> None:
    """Wait for a valid configuration that differs; log invalid ones.

    ``refused`` is a configuration that proved unusable, and may still be in the file.

    The file is read again and again. Events are not enough: a network file system has none, a
    machine may have no watches left, and a link on the way to the file may lead elsewhere one day.
    Where there was a file, one that is gone for a moment is not an empty one.
    """
    seen = read = None
    while True:
        before, seen = seen, await asyncio.to_thread(_content, config_file)
        # The same twice: an editor may be in the middle of writing it.
        if seen == before and seen != read:
            read = seen
            try:
                newest = load(config_file, required=was_there)
            except ConfigError as error:
                log.warning(
                    "the changed configuration is wrong; the old one stays", error=str(error)
                )
            else:
                if newest not in (setup, refused):
                    setups.append(newest)
                    changed.set()
                    return
        await asyncio.sleep(jittered(CONFIG_INTERVAL))


def _content(file: Path) -> tuple[str, bytes | str]:
    """Return a file's place behind links, and its content or error."""
    place = os.path.realpath(file)
    try:
        with file.open("rb") as opened:
            return place, opened.read(LARGEST_FILE + 1)
    except OSError as error:
        return place, str(error)


#: Phases that only a user ends. The errors of Invalid objects are listed by file and line.
_URGENT = (Phase.FAILED, Phase.REJECTED, Phase.HELD, Phase.LOST)
_SHOWN_NAMES = 5


def attention(records: Iterable[ObjectStatus], plan: Plan | None) -> Iterator[str]:
    """Yield lines about the objects that are Failed, Rejected, Held or Lost.

    Objects with the same message, as those of a hold, are named together. ``plan`` is the one that
    the records are of.
    """
    groups: dict[tuple[Phase, str, str], list[ObjectStatus]] = {}
    for record in sorted(records, key=lambda record: record.ref):
        if record.phase in _URGENT:
            groups.setdefault((record.phase, record.reason, record.message), []).append(record)
    for (phase, reason, message), found in groups.items():
        yield f"  {_names(found)} {'is' if len(found) == 1 else 'are'} {phase}: {message}"
        failed = _failed(found[0], plan) if plan is not None else None
        if failed is None or plan is None:
            todo, log = remedy(ReasonCode.known(reason)), ""
        else:
            todo, log = failure_remedy(plan, failed), log_command(failed, found[0])
        shown = [todo, f"`{log}` prints its log." if log else ""]
        if any(shown):
            yield f"    What to do: {' '.join(filter(None, shown))}"


def variant_warnings(records: Iterable[ObjectStatus]) -> Iterator[str]:
    """Yield a line about each Ready sweep with failed trainings."""
    for record in sorted(records, key=lambda record: record.ref):
        failed = [each for each in record.variants if each.phase is TaskPhase.FAILED]
        if record.phase is not Phase.READY or not failed:
            continue
        shown = [f"{variant_text(each.params)}: {each.message}" for each in failed[:_SHOWN_NAMES]]
        more = f"; and {len(failed) - len(shown)} more" if len(failed) > len(shown) else ""
        yield (
            f"warning: {record.ref} is Ready, and {len(failed)} of its {len(record.variants)} "
            f"trainings failed: {'; '.join(shown)}{more}"
        )


def waiting_lines(records: Iterable[ObjectStatus]) -> Iterator[str]:
    """Yield lines about objects that wait, those with the same message together."""
    groups: dict[str, list[ObjectStatus]] = {}
    for record in records:
        groups.setdefault(record.message, []).append(record)
    for message, found in groups.items():
        yield f"  {_names(found)}: {message}"


def _failed(record: ObjectStatus, plan: Plan) -> TaskAction | None:
    """Return the failed task that an object is Failed for."""
    actions = plan.decisions_of(record.ref) if record.phase is Phase.FAILED else ()
    failed = (action for action in actions if action.phase is TaskPhase.FAILED)
    return next((each for each in failed if each.reason.code.value == record.reason), None)


def _names(records: list[ObjectStatus]) -> str:
    more = len(records) - _SHOWN_NAMES
    names = ", ".join(str(record.ref) for record in records[:_SHOWN_NAMES])
    return f"{names} and {more} more" if more > 0 else names
