"""``reconciler logs``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from reconciler.cli.options import config_option, load_if_there
from reconciler.cli.select import kind_option, name_argument, namespace_option, one
from reconciler.cli.state import StateReader
from reconciler.planner.record import Record, TaskRecord
from reconciler.types import TaskKind

#: Lines shown unless asked otherwise, and how many bytes are read for them at most.
LINES = 200
_LONGEST_TAIL = 8 << 20
_CHUNK = 1 << 20
_TASKS = click.Choice([task.value for task in TaskKind])
_NAME = re.compile(r"attempt-\d{1,9}\.log")


@click.command()
@name_argument(required=True)
@click.option(
    "--task",
    type=click.Choice([task.value for task in TaskKind]),
    help="Default: the one started last.",
)
@click.option("--attempt", type=click.IntRange(min=1), help="Default: the last one.")
@click.option(
    "--tail",
    type=click.IntRange(min=0),
    default=LINES,
    show_default=True,
    help="How many lines from the end; 0 for everything.",
)
@namespace_option
@kind_option
@config_option
def logs(
    name: str,
    task: str | None,
    attempt: int | None,
    tail: int,
    namespace: str | None,
    kind: str | None,
    config_file: Path,
) -> None:
    """Print what the command of NAME's task printed, from the log that its status names.

    A log on this machine's disk is read. Of one elsewhere, its URL is told.
    """
    state = StateReader(load_if_there(config_file), Path()).read()
    record = state.records[one(state.records, name=name, namespace=namespace, kind=kind)]
    found = _task(record, task)
    assert found.log is not None  # of those without one none is found
    file = _file(found.log, attempt)
    click.echo(f"==> {record.ref}, {found.task}: {file}", err=True)
    for chunk in _tail(file, tail) if tail else _whole(file):
        sys.stdout.buffer.write(chunk)
    sys.stdout.flush()


def _task(record: Record, kind: str | None) -> TaskRecord:
    """The task whose log is meant. Raises ClickException where none has any."""
    tasks = [task for task in record.tasks if kind in (None, task.task.value)]
    if not tasks:
        have = ", ".join(task.task.value for task in record.tasks) or "no task"
        raise click.ClickException(f"{record.ref} has no {kind or 'task'}; it has {have}")
    logged = [task for task in tasks if task.log is not None]
    if not logged:
        told = " and ".join(f"{task.task} is {task.phase}" for task in tasks)
        raise click.ClickException(
            f"{record.ref} has no log yet: {told}. `reconciler why {record.ref.name}` says more"
        )
    return max(logged, key=lambda task: (task.started is not None, task.started, task.task))


def _file(log: str, attempt: int | None) -> Path:
    """The log's file on this machine. Raises ClickException where it cannot be read from here."""
    url = urlsplit(log)
    if url.scheme != "file":
        where = log if attempt is None else log.rpartition("/")[0] + f"/attempt-{attempt}.log"
        raise click.ClickException(f"the log is not on this machine's disk; it is at {where}")
    file = Path(unquote(url.path))
    if not _NAME.fullmatch(file.name):
        raise click.ClickException(f"the status names {log}, which is no log of an attempt")
    if attempt is not None:
        file = file.with_name(f"attempt-{attempt}.log")
    if file.is_file():
        return file
    if not file.parent.is_dir():
        raise click.ClickException(
            f"there is no folder {file.parent} here; "
            "the log is on the disk of the machine on which the daemon runs"
        )
    have = sorted(f.name for f in file.parent.iterdir() if _NAME.fullmatch(f.name))
    raise click.ClickException(
        f"there is no {file.name} in {file.parent}; there is {', '.join(have) or 'no log'}"
    )


def _whole(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _tail(file: Path, lines: int) -> Iterator[bytes]:
    """The last lines, of which no more is held in memory than a bound."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _LONGEST_TAIL))
        yield from stream.read(_LONGEST_TAIL).splitlines(keepends=True)[-lines:]
