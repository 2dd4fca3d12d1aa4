"""``reconciler logs``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from reconciler import stores
from reconciler.cli.followed_log import follow_log, live_task
from reconciler.cli.options import config_option, load_if_there
from reconciler.cli.recorded_state import StateReader
from reconciler.cli.select import (
    find_key,
    kind_option,
    name_argument,
    namespace_option,
    one,
    with_removed,
)
from reconciler.cli.terminal import tell, visible_log
from reconciler.cli.try_artifacts import tries_of
from reconciler.config import Setup
from reconciler.daemon import pod_logs
from reconciler.engine import ATTEMPT_LOG, LogOf, Tail, newest_attempt
from reconciler.engines.local import rank_lines
from reconciler.planner import (
    ObjectStatus,
    Phase,
    TaskPhase,
    TaskStatus,
    artifact_url,
    newest_printed,
)
from reconciler.review import variant_text
from reconciler.types import TaskKey, TaskKind

#: Lines shown unless asked otherwise, and how many bytes are read for them at most.
LINES = 200
_LONGEST_TAIL = 8 << 20
_CHUNK = 1 << 20


@click.command()
@name_argument(required=True)
@click.option(
    "--task",
    type=click.Choice([task.value for task in TaskKind]),
    help="The task.  [default: the one started last]",
)
@click.option("--attempt", type=click.IntRange(min=1), help="The attempt.  [default: the last one]")
@click.option(
    "--rank",
    type=click.IntRange(min=0),
    help="The rank of a training on several nodes.  [default: 0 on a cluster, else all]",
)
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Print what is written from now on too, until the task has ended.",
)
@click.option(
    "--tail",
    type=click.IntRange(min=0),
    default=LINES,
    show_default=True,
    help="Number of lines from the end of the log; 0 prints all.",
)
@namespace_option
@kind_option
@config_option
def logs(
    name: str,
    task: str | None,
    attempt: int | None,
    rank: int | None,
    follow: bool,
    tail: int,
    namespace: str | None,
    kind: str | None,
    config_file: Path,
) -> None:
    """Print the output of a build, load, training or evaluation.

    NAME is a Model or Dataset, or a key (its first 6 or more digits are enough) for one task, such
    as one training of a sweep; the keys of `reconciler status --history` are those of earlier runs.
    That of a try on this machine, which `run --once --set` prints, is one too, failed or not.

    On Kubernetes the log is read from the pod while there is one, with your kubeconfig. Otherwise
    it is read from its place beside the artifact: on this machine's disk, or in an s3://, gs:// or
    az:// bucket with the credentials in your environment.

    With --follow, the attempts that come are printed as well, of a pod that is replaced too, and
    without --task the tasks that come: a training after its build, say. It begins to wait where
    nothing has started yet. The exit code does not depend on how the task ends.
    """
    setup = load_if_there(config_file)
    reader = StateReader(setup, Path())
    state = reader.read()
    state.check_synced()
    state.records.update(tries_of(state.records, setup, name=name, failed=True))
    records = with_removed(state, name)
    ref = one(
        records, name=name, namespace=namespace, kind=kind, records=records, first_of_shared=True
    )
    record = records[ref]
    key = find_key(name, records) if name != ref.name else None
    found_key = None
    if key is not None and all(key != of.key for of in record.tasks):
        log = replace(_of_history(setup, record, key, attempt), rank=rank)
        where, chunks = _recorded(log, tail)
    elif follow and (live := live_task(record, task, key)) is not None:
        wanted = LogOf(object=ref, task=live.task, attempt=attempt, rank=rank)
        only = task is not None or key is not None
        follow_log(setup, reader.read, wanted, lines=tail, only=only, key=live.run_key or live.key)
        return
    else:
        found = _task(record, task, key)
        found_key = found.key
        log = LogOf(
            object=ref,
            task=found.task,
            attempt=attempt,
            rank=rank,
            run=found.job,
            url=found.log,
        )
        where, chunks = _found(setup, log, tail)
    of = _variant(record, key if key is not None else found_key)
    tell(f"==> {log.object}, {log.task}{of}: {where}", err=True)
    if sys.stdout.isatty():
        for text in visible_log(chunks):
            click.echo(text, nl=False)
        return
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.flush()


def _variant(record: ObjectStatus, key: TaskKey | None) -> str:
    """Return the training of a sweep that a log is of."""
    variant = next((each for each in record.variants if each.key == key), None)
    if variant is None:
        return ""
    params = variant_text(variant.params)
    others = len(record.variants) - 1
    hint = f"; `reconciler status {record.ref.name}` has the keys of {others} more"
    return f" of {params} ({variant.key[:12]}{hint if others else ''})"


def _found(setup: Setup | None, log: LogOf, lines: int) -> tuple[str, Iterator[bytes]]:
    """Return a log's place and its last lines; 0 for all.

    Raises ClickException or StoreError.
    """
    why = ""
    if setup is not None and setup.config.engine == "kubernetes":
        printed = asyncio.run(pod_logs(setup).tail(replace(log, url=None), _LONGEST_TAIL))
        if isinstance(printed, Tail):
            return printed.where, _last(printed.data, lines)
        why = printed.message
    if log.url is None:
        raise click.ClickException(f"{log.object}, {log.task}: {why or 'it has no log yet'}")
    if why:
        tell(why, err=True)
    return _recorded(log, lines)


def _recorded(log: LogOf, lines: int) -> tuple[str, Iterator[bytes]]:
    """Return a recorded log's place and its last lines.

    Raises ClickException or StoreError.
    """
    assert log.url is not None
    url = _url(log.url, log.attempt)
    if urlsplit(url).scheme == "file":
        file = _file(log.url, log.attempt)
        own = file.with_name(_of_rank(file.name, log.rank))
        if own.is_file():
            file = own
        chunks = iter([_end(file)]) if lines else _whole(file)
        return str(file), _shown(chunks, None if file == own else log.rank, lines)
    folder, _, name = url.rpartition("/")
    own_name = _of_rank(name, log.rank)
    shared = own_name != name and own_name not in stores.names(folder)
    url = url if shared else f"{folder}/{own_name}"
    chunks = iter([stores.end(url, _LONGEST_TAIL)]) if lines else stores.whole(url)
    return url, _shown(chunks, log.rank if shared else None, lines)


def _of_rank(name: str, rank: int | None) -> str:
    """Return the name of a rank's own log on a cluster."""
    return name if not rank else f"{name.removesuffix('.log')}.rank-{rank}.log"


def _shown(chunks: Iterator[bytes], rank: int | None, lines: int) -> Iterator[bytes]:
    """Yield the last lines, or all, of a rank or of all."""
    if rank is not None:
        chunks = _lines_of(chunks, rank)
    return _last(b"".join(chunks), lines) if lines else chunks


def _lines_of(chunks: Iterator[bytes], rank: int) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        whole, end, rest = (rest + chunk).rpartition(b"\n")
        yield rank_lines(whole + end, rank)
    yield rank_lines(rest, rank)


def _task(record: ObjectStatus, kind: str | None, key: TaskKey | None) -> TaskStatus:
    """The task whose log is meant. Raises ClickException where none has any."""
    tasks = [task for task in record.tasks if kind in (None, task.task.value)]
    if key is not None:
        tasks = [task for task in tasks if task.key == key]
        if not tasks:
            raise click.ClickException(f"the key {key} is not of a {kind} of {record.ref}")
    if record.phase is Phase.INVALID and record.never_ran:
        raise click.ClickException(
            f"{record.ref} has never run, so it has no log. It is Invalid: {record.message}"
        )
    if not record.tasks:
        raise click.ClickException(
            f"nothing runs for {record.ref}, so it has no log; `reconciler why {record.ref.name}` "
            "says where its artifact is from"
        )
    if not tasks:
        have = ", ".join(task.label for task in record.tasks)
        raise click.ClickException(f"{record.ref} has no {kind or 'task'}; it has {have}")
    newest = newest_printed(tasks)
    if newest is None:
        phases = " and ".join(f"{task.label} is {task.phase}" for task in tasks)
        yet = "" if any(task.phase is TaskPhase.FAILED for task in tasks) else " yet"
        raise click.ClickException(
            f"{record.ref} has no log{yet}: {phases}. `reconciler why {record.ref.name}` says more"
        )
    return newest


def _of_history(
    setup: Setup | None, record: ObjectStatus, key: TaskKey, attempt: int | None
) -> LogOf:
    """Return the log of a run of the history.

    Raises ClickException where none is left, and StoreError.
    """
    entries = [entry for entry in record.history if entry.key == key]
    task = entries[-1].task if entries else TaskKind.TRAIN
    if task is TaskKind.BUILD:
        raise click.ClickException(
            f"the build {key} is in the history of {record.ref} alone, and the log of a build is "
            "kept only while an object needs it"
        )
    made = [entry.artifact for entry in entries if entry.artifact]
    if made:
        folder = f"{made[-1].rstrip('/')}/logs"
    elif setup is not None:  # of a run that failed no artifact is recorded
        bucket = setup.settings.buckets[record.ref.kind]
        place = artifact_url(bucket=bucket, cluster=setup.config.cluster, ref=record.ref, key=key)
        folder = f"{place}logs"
    else:
        raise click.ClickException(
            f"the run {key} of {record.ref} left no artifact, so only a configuration says where "
            "its log is; name that with --config"
        )
    number = attempt or _newest_attempt(folder)
    if not number:
        raise click.ClickException(f"the run {key} of {record.ref} left no log in {folder}/")
    url = f"{folder}/attempt-{number}.log"
    return LogOf(object=record.ref, task=task, attempt=attempt, url=url)


def _newest_attempt(folder: str) -> int:
    """Return the number of the newest log in a folder, or 0."""
    split = urlsplit(folder)
    if split.scheme == "file":
        place = Path(unquote(split.path))
        names = [file.name for file in place.iterdir()] if place.is_dir() else []
    else:
        names = stores.names(folder)
    return newest_attempt(names)


def _url(log: str, attempt: int | None) -> str:
    """Return the URL of an attempt's log.

    Raises ClickException if the status names anything else.
    """
    folder, _, name = log.rpartition("/")
    if not ATTEMPT_LOG.fullmatch(name):
        raise click.ClickException(f"the status names {log}, which is no log of an attempt")
    return log if attempt is None else f"{folder}/attempt-{attempt}.log"


def _file(log: str, attempt: int | None) -> Path:
    """The log's file on this machine. Raises ClickException where there is none."""
    file = Path(unquote(urlsplit(_url(log, attempt)).path))
    if file.is_file():
        return file
    if not file.parent.is_dir():
        raise click.ClickException(
            f"there is no folder {file.parent} here; "
            "the log is on the disk of the machine that ran it"
        )
    have = sorted(f.name for f in file.parent.iterdir() if ATTEMPT_LOG.fullmatch(f.name))
    raise click.ClickException(
        f"there is no {file.name} in {file.parent}; there is {', '.join(have) or 'no log'}"
    )


def _whole(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _end(file: Path) -> bytes:
    """Read the last ``_LONGEST_TAIL`` bytes."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _LONGEST_TAIL))
        return stream.read(_LONGEST_TAIL)


def _last(data: bytes, lines: int) -> Iterator[bytes]:
    yield from data.splitlines(keepends=True)[-lines:]
