"""``reconciler why``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning
from reconciler.cli.fetched_remote import FetchedRemote
from reconciler.cli.options import (
    clone,
    config_option,
    is_named,
    load_if_there,
    open_clone,
    repo_option,
)
from reconciler.cli.recorded_state import note_refused
from reconciler.cli.select import kind_option, name_argument, namespace_option, one, with_removed
from reconciler.config import Setup
from reconciler.git import GitError, Repository, is_local
from reconciler.manifests import read_file
from reconciler.planner import ObjectStatus, Phase, Plan, TaskPhase, statuses_after
from reconciler.review import explain, printable, shown_conditions, why_lines
from reconciler.types import Commit, ObjectRef


@click.command()
@name_argument(required=True)
@click.option(
    "--head",
    metavar="REV",
    help="Read the manifests of this commit of a clone.  [default: the commit of the next sync]",
)
@namespace_option
@kind_option
@repo_option
@config_option
def why(
    name: str,
    head: str | None,
    namespace: str | None,
    kind: str | None,
    folder: Path,
    config_file: Path,
) -> None:
    """Explain why each task of NAME waits, failed or runs again.

    Below each cause stands what to do about it. NAME may also be a key, or the first 6 or more
    digits of one.

    The manifests and the status are read from the repository that the configuration names, as
    they are there now. With --head or --repo the manifests are those of a commit in a clone.
    Without a configuration, both manifests and status are those of the clone in this folder.
    Of a removed object the commit that removed it is named.
    """
    setup = load_if_there(config_file)
    planning, revision = _planning(setup, folder, head)
    note_refused(planning.state)
    snapshot = planning.read(revision)
    sync = planning.state.sync
    if (
        head is None
        and sync is not None
        and sync.refused
        and sync.refused.commit == snapshot.commit
    ):
        snapshot = planning.read(sync.head)
    plan = planning.plan(snapshot)
    known = {*plan.inputs.desired, *plan.inputs.records, *plan.inputs.invalid}
    records: Mapping[ObjectRef, ObjectStatus] = planning.state.records
    if not any(ref.name == name for ref in known):
        records = with_removed(planning.state, name)
        known |= records.keys()
    ref = one(known, name=name, namespace=namespace, kind=kind, records=records)
    record = records.get(ref)
    removed = record is not None and record is planning.state.removed.get(ref)
    if removed and record is not None:
        lines = removal_lines(record, planning.state.repository, snapshot.commit)
    else:
        lines = explained(plan, ref, record)
    for depth, line in lines:
        name = "" if depth else f"{click.style(str(ref), bold=True)} "
        click.echo(f"{'  ' * depth}{name}{printable(line)}")
    if removed:
        return
    for line in _differs(planning, plan, record):
        click.echo(f"  {printable(line)}")


def _planning(setup: Setup | None, folder: Path, head: str | None) -> tuple[Planning, str]:
    """Return the planning and the revision to plan. Raises GitError."""
    if setup is None:
        return Planning(None, open_clone(folder)), head or "HEAD"
    if is_named("folder") or head is not None:
        found = clone(folder, setup)
        lacks = found.status_branch(setup.status_branch) is None
        remote = FetchedRemote.fetch(setup) if lacks else None
        return Planning(setup, found, remote=remote), head or "HEAD"
    if is_local(setup.repository_url):
        return Planning(setup, clone(folder, setup)), f"refs/heads/{setup.config.repository.branch}"
    remote = FetchedRemote.fetch(setup)
    return Planning(setup, remote.clone(), remote=remote), remote.head


def explained(plan: Plan, ref: ObjectRef, record: ObjectStatus | None) -> Iterator[tuple[int, str]]:
    """Yield lines with their depth: an object's status, and its tasks.

    The status is the recorded one, and that after the planned sync where it is another.
    """
    after = statuses_after(plan).get(ref)
    known = _phase(record) if record is not None else None
    yield 0, f"is {known[0]} as of the last sync{known[1]}" if known else "is not synced yet"
    if after is not None and _phase(after) != known:
        end = "" if after.phase is Phase.INVALID else "."  # a problem may end in a question
        yield 1, f"The next sync makes it {after.phase}{_phase(after)[1]}{end}"
    for depth, line in why_lines(plan, ref):
        yield depth + 1, line
    for condition, text in (shown_conditions(record) if record else {}).items():
        yield 1, f"{condition}: {text}"


def _phase(status: ObjectStatus) -> tuple[Phase, str]:
    """Return the phase, and the message with a colon before it."""
    return status.phase, "" if status.complete or not status.message else f": {status.message}"


def _differs(planning: Planning, plan: Plan, record: ObjectStatus | None) -> Iterator[str]:
    """Yield the differences between the desired and the last artifact."""
    if record is None or record.artifact is None:
        return
    item = plan.inputs.desired.get(record.ref)
    if item is None or item.key == record.artifact.key:
        return
    entries = [e for e in record.history if e.key == record.artifact.key]
    made = next((e for e in reversed(entries) if e.phase is TaskPhase.SUCCEEDED), None)
    when = f" on {made.finished:%Y-%m-%d}" if made is not None and made.finished else ""
    commit = made.commit if made is not None else None
    where = f" from commit {commit[:12]}" if commit is not None else ""
    yield f"Its last artifact {record.artifact.key[:12]} was made{when}{where}."
    if commit is not None:
        yield _since(planning, plan, commit, record.ref)


def _since(planning: Planning, plan: Plan, commit: str, ref: ObjectRef) -> str:
    """Explain an object's changes between a commit and the planned one."""
    try:
        then = planning.plan(planning.read(commit)).inputs.desired
    except GitError:
        return "That commit is not in this clone, so what has changed since is not known."
    found = explain(then, plan.inputs.desired).get(ref)
    return (
        f"Since then: {found}." if found is not None else "What it is made from has changed since."
    )


#: Commits of a manifest's file that are looked at for its removal.
_MOST_CHANGES = 50


def removal_lines(
    record: ObjectStatus, repository: Repository | None, head: Commit
) -> Iterator[tuple[int, str]]:
    """Yield lines with their depth: commit, history and way back."""
    file = record.manifest.path if record.manifest is not None else ""
    found = None
    with suppress(GitError):  # a shallow clone lacks the commits before
        found = _removal(record.ref, file, repository, head) if repository is not None else None
    if found is None or repository is None:
        was = f" from {file}" if file else ""
        yield 0, f"was removed{was}; by which commit is not known here"
    else:
        when = f"{repository.committed(found):%Y-%m-%d %H:%M} UTC"
        yield 0, f"was removed from {file} by commit {found[:12]} of {when}"
    yield 1, f"Its artifacts stay; `reconciler status --history {record.ref.name}` lists its runs."
    if found is not None:
        again = "Committed again, it runs only what is not complete."
        yield 1, f"`git show {found[:12]}^:{file}` prints its manifest. {again}"


def _removal(ref: ObjectRef, file: str, repository: Repository, head: Commit) -> Commit | None:
    """Return the commit that took an object's manifest from a file."""
    at = head
    for _ in range(_MOST_CHANGES if file else 0):
        found = repository.last_changed(at, {file})[file]
        before = repository.history(found, first_parents=True, limit=2)[1:]
        if not before or _has(ref, file, repository, found):
            return None
        if _has(ref, file, repository, before[0]):
            return found
        at = before[0]
    return None


def _has(ref: ObjectRef, file: str, repository: Repository, commit: Commit) -> bool:
    data = repository.read_file(commit, file)
    content = read_file(file, data or b"", default_namespace=ref.namespace)
    return any(manifest.ref == ref for manifest in content.manifests)
