"""``reconciler artifacts``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click

from reconciler.cli.artifact_entries import ENTRIES, ArtifactEntry
from reconciler.cli.artifact_sizes import sizes
from reconciler.cli.artifact_use import Use, use_columns, used_text, users_of
from reconciler.cli.collected import collection_lines
from reconciler.cli.environments import (
    environment_summary,
    environment_table,
    environments_of,
    last_used,
)
from reconciler.cli.options import config_option, format_option, load_if_there, wide_option
from reconciler.cli.recorded_state import RecordedState, StateReader
from reconciler.cli.select import (
    find_key,
    kind_option,
    name_argument,
    namespace_option,
    same,
    unknown_name,
)
from reconciler.cli.table import Column, Listing, console
from reconciler.cli.terminal import json_text
from reconciler.config import Setup
from reconciler.engine import CollectedKind, EngineError, OrderOutcome, Wanted
from reconciler.engines.local import ArtifactPlaces, ArtifactState, RootLayout
from reconciler.planner import TaskPhase
from reconciler.review import counted, printable, shown_size
from reconciler.status import (
    CollectionEntry,
    CollectionReport,
    CollectionStep,
    collection_summary,
    shown_step,
)
from reconciler.types import ObjectRef, TaskKey

#: No artifacts of the records.
_REMAINS = (CollectedKind.ATTEMPT, CollectedKind.TRY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """The output directory of a task.

    ``size`` is in bytes; None if it cannot be read from here.
    """

    ref: ObjectRef
    key: TaskKey
    url: str
    finished: datetime | None
    used: tuple[Use, ...]
    removed: bool
    size: int | None = None
    collection: CollectionEntry | None = None

    @property
    def collected(self) -> bool:
        """True if the last collection found that nothing refers to it."""
        return self.collection is not None and self.collection.collected

    @property
    def entry(self) -> ArtifactEntry:
        """The entry that ``--format json`` prints."""
        return ArtifactEntry(
            kind=self.ref.kind.value,
            namespace=self.ref.namespace,
            name=self.ref.name,
            key=self.key,
            url=self.url,
            finished=self.finished,
            size=self.size,
            used_by=tuple(f"{role} {ref}" for role, ref in self.used),
            removed=self.removed,
            collection=self.collection.step if self.collection is not None else None,
            kept_by=self.collection.used_by if self.collection is not None else (),
            what=self.collection.what if self.collection is not None else CollectedKind.ARTIFACT,
        )


@click.command()
@name_argument(required=False)
@click.option(
    "--collect", "collecting", is_flag=True, help="Only what a collection takes, and what keeps it."
)
@click.option("--undo", metavar="KEY", help="Take back the hidden artifact of this key.")
@click.option("--unused", is_flag=True, help="Only those that no object uses and no manifest pins.")
@namespace_option
@kind_option
@format_option("text", "json")
@wide_option
@config_option
def artifacts(
    name: str | None,
    collecting: bool,
    undo: str | None,
    unused: bool,
    namespace: str | None,
    kind: str | None,
    style: str,
    output: str | None,
    config_file: Path,
) -> None:
    """List artifacts, images and environments, with their sizes and uses.

    NAME selects those of one Model or Dataset. It may also be a key, or the first 6 or more digits
    of one, for a single artifact.

    Artifacts are the output directories of loads and trainings. One is unused (USED AS: history
    alone) if it is the current artifact of no object and no manifest pins its key; while it exists,
    a `git revert` to its manifest runs nothing.

    COLLECTED says what the last collection of the daemon found; see `retention` in the
    configuration. --collect lists what a sync would hide or remove, and what holds it back. --undo
    moves a marker back: the artifact counts as made at that time, and stays for retention.days.

    The order is kind, namespace and name; of one object the newest artifact is first. Images and
    environments follow, those that were used last first.

    Images and environments are made by builds of the local engine on this machine. The daemon
    removes those that nothing has used for the time of local.environments.keep.
    """
    setup = load_if_there(config_file)
    state = StateReader(setup, Path()).read()
    if undo is not None:
        _undo(setup, state, undo)
        return
    if name is not None:
        state.check_synced()
    key = _key(state, name)
    found = [
        artifact
        for artifact in sorted(_all(state, images=collecting), key=_place)
        if key in (None, artifact.key)
        and same(artifact.ref, name=None if key else name, namespace=namespace, kind=kind)
        and not (unused and artifact.used)
        and not (collecting and not artifact.collected)
    ]
    sized = sizes((artifact.url, artifact.key) for artifact in found)
    found = [replace(artifact, size=artifact.size or sized[artifact.url]) for artifact in found]
    narrowed = name or namespace or kind
    environments = [
        environment
        for environment in sorted(environments_of(setup, state), key=last_used)
        if not collecting
        and not (unused and environment.users)
        and (not narrowed or environment.serves(name=name, namespace=namespace, kind=kind))
    ]
    remains = [
        entry
        for entry in (state.collection.artifacts if collecting and state.collection else ())
        if entry.what in _REMAINS
        and key in (None, entry.key)
        and same(entry.ref, name=None if key else name, namespace=namespace, kind=kind)
    ]
    if style == "json":
        entries = [
            *(artifact.entry for artifact in found),
            *map(_remains_entry, remains),
            *(environment.entry for environment in environments),
        ]
        click.echo(json_text(list(map(ENTRIES.dump, entries))))
        return
    screen = console()
    if collecting:
        chosen = {artifact.key for artifact in found} | {entry.key for entry in remains}
        _print_collection(state.collection, chosen)
        return
    if found:
        screen.print(_artifact_table(found, wide=output is not None), crop=False)
    known = [artifact.size for artifact in found if artifact.size is not None]
    unknown = len(found) - len(known)
    also = f", and {unknown} whose size cannot be read from here" if unknown else ""
    click.echo(f"{counted(len(found), 'artifact')}, {shown_size(sum(known))}{also}")
    if environments:
        click.echo()
        screen.print(environment_table(environments, wide=output is not None), crop=False)
        click.echo(environment_summary(environments))


def _key(state: RecordedState, name: str | None) -> TaskKey | None:
    """Return the key that begins so, for a name of no object.

    Raises ClickException if there is neither.
    """
    records = {**state.removed, **state.records}
    if name is None or any(ref.name == name for ref in records):
        return None
    key = find_key(name, records)
    if key is None:
        raise unknown_name(name, records, recorded=True)
    return key


def _all(state: RecordedState, *, images: bool = False) -> Iterator[Artifact]:
    """Yield the artifacts, and ``images`` that the last collection looked at."""
    users = users_of(state)
    report = state.collection
    collected = {entry.key: entry for entry in report.artifacts} if report is not None else {}
    seen: set[TaskKey] = set()  # a renamed object keeps what it had under its former name
    for record in [*state.records.values(), *state.removed.values()]:
        for entry in record.history:
            ended = entry.phase is TaskPhase.SUCCEEDED and entry.collected is None
            made = ended and entry.key not in seen
            collection = collected.get(entry.key)
            image = collection is not None and collection.image
            url = entry.image if image and images else entry.artifact
            if made and url is not None:
                seen.add(entry.key)
                yield Artifact(
                    ref=record.ref,
                    key=entry.key,
                    url=url,
                    finished=entry.finished,
                    used=tuple(dict.fromkeys(users.get(entry.key, ()))),
                    removed=record.ref not in state.records,
                    size=collection.size or None if image and collection else None,
                    collection=collection,
                )


def _remains_entry(remains: CollectionEntry) -> ArtifactEntry:
    """Return the entry of what failed attempts, or a try, have left."""
    return ArtifactEntry(
        kind=remains.kind.value,
        namespace=remains.namespace,
        name=remains.name,
        key=remains.key,
        url=None,
        finished=remains.made,
        size=remains.size,
        used_by=remains.used_by,
        removed=False,
        collection=remains.step,
        what=remains.what,
    )


def _place(artifact: Artifact) -> tuple[ObjectRef, float, TaskKey]:
    """Return the place in the list: by object, the newest first."""
    age = -artifact.finished.timestamp() if artifact.finished is not None else 0.0
    return artifact.ref, age, artifact.key


def _artifact_table(found: list[Artifact], *, wide: bool) -> Listing:
    columns = [Column(title) for title in ("OBJECT", "KEY", "MADE")]
    shown = [Column("COLLECTED", below=True)] if any(map(_collected, found)) else []
    table = Listing(*columns, Column("SIZE", right=True), *shown, *use_columns(wide=wide))
    for artifact in found:
        table.add(
            str(artifact.ref),
            artifact.key[:12],
            f"{artifact.finished:%Y-%m-%d %H:%M}" if artifact.finished else "",
            shown_size(artifact.size) if artifact.size is not None else "?",
            *([_collected(artifact)] if shown else []),
            used_text(artifact.used, artifact.ref, removed=artifact.removed),
            printable(artifact.url),
        )
    return table


def _collected(artifact: Artifact) -> str:
    """Return the next step of an artifact, or its first keeper."""
    entry = artifact.collection
    if entry is None:
        return ""
    if artifact.collected or entry.step is CollectionStep.RESTORE:
        return shown_step(entry, enabled=True)
    return f"kept: {entry.used_by[0]}" if entry.used_by and not artifact.used else ""


def _print_collection(report: CollectionReport | None, keys: set[TaskKey]) -> None:
    """Print what the last collection found of these artifacts."""
    if report is None:
        click.echo("The last collection found nothing unused.")
        return
    shown = tuple(entry for entry in report.artifacts if entry.key in keys)
    selected = replace(report, artifacts=shown)
    for line in collection_lines(selected, datetime.now(UTC)):
        click.echo(line)
    click.echo(f"{collection_summary(selected)}.")


def _undo(setup: Setup | None, state: RecordedState, text: str) -> None:
    """Move the marker of a hidden artifact back."""
    key = find_key(text, {**state.removed, **state.records})
    if key is None:
        raise click.ClickException(
            f"no artifact has a key that begins with {printable(text)[:40]!r}; give its first 6 or "
            "more digits"
        )
    if any(a.key == key and a.collection and a.collection.image for a in _all(state, images=True)):
        raise click.ClickException(
            f"{key[:12]} is the key of an image, which stays as long as a manifest asks for it, or "
            "an artifact that was made in it is kept; pin the key of one"
        )
    url = next((artifact.url for artifact in _all(state) if artifact.key == key), None)
    cluster = setup if setup is not None and setup.config.engine == "kubernetes" else None
    if cluster is not None and url is not None and cluster.is_mounted(url):
        _undo_by_job(cluster, state, key, url)
        return
    local = setup is not None and setup.config.engine == "local"
    places = ArtifactPlaces(RootLayout(setup.root) if setup is not None and local else None)
    facts = places.read(url, key) if url is not None else None
    if facts is not None and facts.state is ArtifactState.COMPLETE:
        click.echo(f"The artifact {key[:12]} is not hidden; nothing was changed.")
        return
    if url is None or not places.restore(url, key):
        raise click.ClickException(f"there is no artifact of {key[:12]} any more to take back")
    click.echo(f"The artifact {key[:12]} is complete again: {printable(url)}")


def _undo_by_job(setup: Setup, state: RecordedState, key: TaskKey, url: str) -> None:
    """Have a Job move the marker back, where pods alone can."""
    from reconciler.daemon import restore_by_job  # noqa: PLC0415 -- takes a second

    records = [*state.records.values(), *state.removed.values()]
    task = next(e.task for record in records for e in record.history if e.key == key)
    try:
        result = asyncio.run(restore_by_job(setup, Wanted(task, key, url)))
    except EngineError as error:
        result = error
    if isinstance(result, EngineError):
        raise click.ClickException(
            f"{result}; the daemon restores {key[:12]} once a manifest pins the key"
        )
    if result.outcome is not OrderOutcome.COMPLETE:
        raise click.ClickException(
            f"the artifact {key[:12]} was not restored: its Job says {result.outcome.value!r}"
        )
    click.echo(f"The artifact {key[:12]} is complete again: {printable(url)}")
