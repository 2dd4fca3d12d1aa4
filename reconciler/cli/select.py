"""Selection of objects by name, namespace, kind, phase and label."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from reconciler.cli.recorded_state import DEFAULT_BRANCH, RecordedState
from reconciler.config import DEFAULT_FILE, load_setup
from reconciler.errors import ReconcilerError
from reconciler.git import LocalRepository
from reconciler.manifests import LABEL_KEY, LABEL_VALUE, did_you_mean
from reconciler.planner import (
    ObjectStatus,
    Phase,
    TaskPhase,
    is_removed_path,
    object_of_path,
)
from reconciler.types import Kind, ObjectRef, TaskKey

F = TypeVar("F", bound=Callable[..., Any])

#: Malformed labels are refused: they match nothing, which would look like an answer.
_LABEL = re.compile(f"(?P<key>{LABEL_KEY[1:-1]})==?(?P<value>{LABEL_VALUE[1:-1]})")


#: The beginning of a key; tables show twelve characters.
_KEY_START = re.compile("[0-9a-f]{6,40}")
_SHORT_KEY = re.compile("[0-9a-f]{1,5}")
_SHOWN_KEYS = 5
_SHOWN_NAMES = 3


def _names(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names from the status branch of this folder's clone.

    Only the names of files are looked at, so that it is quick; an error completes nothing.
    """
    names: dict[str, str] = {}
    with suppress(ReconcilerError, OSError):
        setup = load_setup(Path(DEFAULT_FILE), {}) if Path(DEFAULT_FILE).exists() else None
        repository = LocalRepository.open(Path())
        tip = repository.status_branch(setup.status_branch if setup else DEFAULT_BRANCH)
        for path in repository.list_manifests(tip) if tip is not None else ():
            ref = object_of_path(path)
            if ref is not None and not is_removed_path(path):
                names.setdefault(ref.name, f"{ref.kind.value.lower()} in {ref.namespace}")
    return [CompletionItem(n, help=h) for n, h in sorted(names.items()) if n.startswith(incomplete)]


def name_argument(*, required: bool) -> Callable[[F], F]:
    """``NAME``, completed by a shell from the status branch."""
    return click.argument("name", required=required, shell_complete=_names)


def names_argument(command: F) -> F:
    """``[NAMES]...``, completed as ``NAME`` is."""
    return click.argument("names", nargs=-1, shell_complete=_names)(command)


def label_option(command: F) -> F:
    """``-l LABEL=VALUE``, any number of them."""
    return click.option(
        "-l",
        "labels",
        multiple=True,
        metavar="LABEL=VALUE",
        help="Only objects with this label in their manifest; repeat it, or join several by "
        "commas.",
    )(command)


def namespace_option(command: F) -> F:
    """``-n NAMESPACE``."""
    return click.option("-n", "--namespace", help="Only objects of this namespace.")(command)


def kind_option(command: F) -> F:
    """``--kind model|dataset``."""
    kinds = [kind.value.lower() for kind in Kind]
    return click.option(
        "--kind", type=click.Choice(kinds, case_sensitive=False), help="Only objects of this kind."
    )(command)


def phase_option(command: F) -> F:
    """``--phase PHASE``, any of several."""
    phases = [phase.value for phase in Phase]
    return click.option(
        "--phase",
        "phases",
        multiple=True,
        type=click.Choice(phases, case_sensitive=False),
        help="Only objects in this phase; may be given several times.",
    )(command)


def read_labels(labels: Sequence[str]) -> dict[str, str]:
    """Read ``-l LABEL=VALUE``, repeated or joined by commas, like kubectl."""
    wanted = {}
    for label in ",".join(labels).split(",") if labels else ():
        found = _LABEL.fullmatch(label)
        if found is None:
            raise click.BadParameter(f"expected LABEL=VALUE, found {label}", param_hint="-l")
        wanted[found["key"]] = found["value"]
    return wanted


def same(ref: ObjectRef, *, name: str | None, namespace: str | None, kind: str | None) -> bool:
    """Return whether an object is selected."""
    return (
        name in (None, ref.name)
        and namespace in (None, ref.namespace)
        and (kind is None or ref.kind.value.lower() == kind.lower())
    )


def one(
    refs: Iterable[ObjectRef],
    *,
    name: str,
    namespace: str | None,
    kind: str | None,
    records: Mapping[ObjectRef, ObjectStatus],
    first_of_shared: bool = False,
) -> ObjectRef:
    """Return the object of a name, or of a key's beginning.

    Of several objects that share a build, and so its key, none is returned, or the first.
    Raises ClickException if there is none, or more than one.
    """
    known = sorted(refs)
    found = [ref for ref in known if same(ref, name=name, namespace=namespace, kind=kind)]
    if not found:
        key = find_key(name, records)
        if key is None:
            raise unknown_name(name, known, recorded=refs is records)
        having = [ref for ref in known if ref in records and key in keys_of(records[ref])]
        having = [ref for ref in having if key in _run_keys(records[ref])] or having
        found = [ref for ref in having if same(ref, name=None, namespace=namespace, kind=kind)]
        if not found:
            raise unknown_name(name, known)
        if first_of_shared:
            return found[0]
        if len(found) > 1:
            shown = ", ".join(map(str, found[:_SHOWN_NAMES]))
            more = f" and {len(found) - _SHOWN_NAMES} more" if len(found) > _SHOWN_NAMES else ""
            raise click.UsageError(
                f"the key {name} is shared by {shown}{more}; give the name of one of them"
            )
    if len(found) > 1:
        names = " or ".join(map(str, found))
        raise click.UsageError(f"{name} may be {names}; say which with --namespace or --kind")
    return found[0]


def with_removed(state: RecordedState, name: str) -> Mapping[ObjectRef, ObjectStatus]:
    """The objects among which a name or key is looked up.

    Removed ones are among them where no present object is meant.
    """
    present = state.records
    if any(ref.name == name for ref in present) or find_key(name, present) is not None:
        return present
    return {**state.removed, **present}


def unknown_name(
    name: str, refs: Iterable[ObjectRef], *, recorded: bool = False
) -> click.ClickException:
    """Make the error about an unknown name, with similar ones.

    ``recorded``: the names are those of the status, not of manifests.
    """
    known = sorted(refs)
    elsewhere = ", ".join(str(ref) for ref in known if ref.name == name)
    if elsewhere:
        return click.ClickException(
            f"no object called {name} matches the options; there is {elsewhere}"
        )
    last = name.rpartition("/")[2]
    if "/" in name and any(ref.name == last for ref in known):
        return click.ClickException(
            f"no object is called {name}: give its name alone, {last}, and where several have it "
            "--kind or --namespace as well"
        )
    near = did_you_mean(name, {ref.name for ref in known}, most=_SHOWN_NAMES)
    if not near and _SHORT_KEY.fullmatch(name):
        near = "; of a key, at least 6 digits are needed"
    if not near and recorded:
        near = "; what was committed since the last sync is not known yet"
    return click.ClickException(f"no object is called {name}{near}")


def _run_keys(record: ObjectStatus) -> frozenset[TaskKey | None]:
    """Return the keys of an object's own runs.

    The key of an artifact that a promotion takes over is not among them.
    """
    tasks = (task.key for task in record.tasks)
    return frozenset([*tasks, *(entry.key for entry in record.history)])


def keys_of(record: ObjectStatus) -> frozenset[TaskKey]:
    """Return every key that a status file names as the object's own."""
    keys = {
        *_run_keys(record),
        record.desired,
        record.artifact.key if record.artifact is not None else None,
    }
    return frozenset(key for key in keys if key is not None)


def find_key(text: str, records: Mapping[ObjectRef, ObjectStatus]) -> TaskKey | None:
    """Return the objects' only key that begins with a text, or None.

    Raises UsageError if there are several.
    """
    return only_key(text, (key for record in records.values() for key in keys_of(record)))


def only_key(text: str, keys: Iterable[TaskKey]) -> TaskKey | None:
    """Return the only key that begins with a text, or None.

    Raises UsageError if there are several.
    """
    if not _KEY_START.fullmatch(text):
        return None
    found = sorted({key for key in keys if key.startswith(text)})
    if len(found) > 1:
        shown = ", ".join(found[:_SHOWN_KEYS]) + (", …" if len(found) > _SHOWN_KEYS else "")
        raise click.UsageError(f"{text} is the beginning of {len(found)} keys: {shown}")
    return found[0] if found else None


def select_artifact(
    state: RecordedState, name: str, key: str | None, *, namespace: str | None, kind: str | None
) -> tuple[ObjectRef, TaskKey, str]:
    """Return the object, key and URL of an artifact.

    ``name`` is an object's name or the beginning of a key, ``key`` the beginning of the key of an
    earlier artifact. Raises ClickException where there is none, and UsageError for several.
    """
    records = with_removed(state, name)
    ref = one(
        records, name=name, namespace=namespace, kind=kind, records=records, first_of_shared=True
    )
    if key is None and name != ref.name:
        key = find_key(name, records)
    return ref, *_find_artifact(state, records[ref], key)


def _find_artifact(
    state: RecordedState, record: ObjectStatus, key: str | None
) -> tuple[TaskKey, str]:
    """Return the key and URL of an artifact. Raises ClickException without one."""
    current = record.artifact
    made = {
        entry.key: entry.artifact
        for entry in record.history
        if entry.phase is TaskPhase.SUCCEEDED and entry.artifact is not None
    }
    if current is not None:
        made.setdefault(current.key, current.url)
    found = current.key if current is not None and key is None else None
    if key is not None:
        found = only_key(key, made)
        if found is None:
            known = [each[:12] for each in made]
            shown = ", ".join(known[-_SHOWN_KEYS:]) or "none"
            raise click.ClickException(
                f"no artifact of {record.ref} has a key that begins with {key[:40]}; it has "
                f"{'… ' if len(known) > _SHOWN_KEYS else ''}{shown}"
            )
    if found is None:
        raise click.ClickException(
            f"{record.ref} has no artifact; `reconciler why {record.ref.name}` says more"
        )
    entry = next((each for each in reversed(record.history) if each.key == found), None)
    if entry is not None and entry.collected is not None:
        raise click.ClickException(
            f"the artifact {found[:12]} of {record.ref} was removed by a collection on "
            f"{entry.collected:%Y-%m-%d}"
        )
    if entry is not None and entry.hidden is not None:
        raise click.ClickException(
            f"the artifact {found[:12]} of {record.ref} was hidden by a collection on "
            f"{entry.hidden:%Y-%m-%d}; `reconciler artifacts --undo {found[:12]}` takes it back"
        )
    if not _is_made(state, found):
        raise click.ClickException(
            f"the artifact of {record.ref} is external: nothing recorded what its files at "
            f"{made[found]} are, so there is nothing to compare them with"
        )
    return found, made[found]


def _is_made(state: RecordedState, key: TaskKey) -> bool:
    """Return whether a task made an artifact, here or elsewhere."""
    records = [*state.records.values(), *state.removed.values()]
    return any(entry.key == key for record in records for entry in record.history) or any(
        known.key == key for record in records for known in record.references
    )


def has_labels(record: ObjectStatus, wanted: dict[str, str], state: RecordedState) -> bool:
    """Return whether the object's manifest has these labels."""
    if not wanted:
        return True
    have = state.labels(record)
    return all(have.get(key) == value for key, value in wanted.items())


def note_unknown_labels(state: RecordedState) -> None:
    """Print the number of objects whose labels are unknown.

    Without it an empty answer would look like a complete one.
    """
    count = sum(map(state.lacks, state.records.values()))
    if count:
        objects = "1 object" if count == 1 else f"{count} objects"
        click.echo(
            f"Note: the labels of {objects} are not known: labels are read from manifests, and "
            "the commits that these are in are not in a clone here.",
            err=True,
        )


def removed_error(ref: ObjectRef) -> click.ClickException:
    """Make the error about an object whose manifest was removed."""
    return click.ClickException(
        f"{ref} was removed; `reconciler status --history {ref.name}` shows what was made of it, "
        f"`reconciler why {ref.name}` by which commit"
    )
