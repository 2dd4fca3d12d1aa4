"""The use of artifacts and environments by objects, for ``reconciler artifacts``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from reconciler.cli.recorded_state import RecordedState
from reconciler.cli.table import Column
from reconciler.manifests import ModelManifest
from reconciler.planner import ObjectStatus
from reconciler.types import ForeignRef, Kind, ObjectRef, TaskKey

_SHOWN_USERS = 3

#: In which role an object uses an artifact: ``current of``, ``base of``, ``pinned as dataset of``.
Use = tuple[str, ObjectRef]


def users_of(state: RecordedState) -> Mapping[TaskKey, list[Use]]:
    """Return the uses of each key.

    They are the objects whose current artifact it is, and the manifests that name it.
    """
    users: dict[TaskKey, list[Use]] = defaultdict(list)
    records = [state.records[ref] for ref in sorted(state.records)]
    for record in records:
        ref = record.ref
        if record.artifact is not None:
            users[record.artifact.key].append(("current of", ref))
        current = record.artifact.key if record.artifact is not None else None
        for task in record.tasks:
            # The directory of a load, say, from which the object's own training starts.
            if task.key is not None and task.key != current:
                users[task.key].append((f"{task.label} of", ref))
    for record in records:
        for key, role in _named(state, record):
            users[key].append((role, record.ref))
    return users


def _named(state: RecordedState, record: ObjectStatus) -> Iterator[tuple[TaskKey, str]]:
    """The artifacts that a manifest refers to.

    A reference is by key, or to the current artifact of another object.
    """
    manifest = state.manifest(record)
    if manifest is None:
        return
    document = manifest.document
    training = isinstance(document, ModelManifest) and document.spec.training is not None
    for ref, reference, _ in manifest.references:
        if isinstance(ref, ForeignRef):
            continue  # another cluster's, which this list is not about
        role = "dataset of" if ref.kind is Kind.DATASET else "base of" if training else "source of"
        if reference.key is not None:
            yield TaskKey(reference.key), f"pinned as {role}"
        else:
            target = state.records.get(ref)
            if target is not None and target.artifact is not None:
                yield target.artifact.key, role


def use_columns(*, wide: bool) -> tuple[Column, Column]:
    """Return the columns of use and place, which may be dropped."""
    url = Column("URL", below=True, whole=True, drop=0 if wide else 1)
    return Column("USED AS", below=True), url


def used_text(uses: Sequence[Use], owner: ObjectRef, *, removed: bool) -> str:
    """Write the uses of an artifact: ``current; base of a, b``."""
    if not uses:
        return "nothing: removed" if removed else "history alone"
    roles: dict[str, list[str]] = defaultdict(list)
    for role, ref in uses:
        roles[role].append("" if ref == owner else ref.name)
    words = []
    for role, names in roles.items():
        if "" in names:
            words.append(role.removesuffix(" of"))
        others = [name for name in names if name]
        if others:
            words.append(role_text(role, others))
    return "; ".join(words)


def role_text(role: str, names: Sequence[str]) -> str:
    """Return a role and the first objects in it."""
    more = f" and {len(names) - _SHOWN_USERS} more" if len(names) > _SHOWN_USERS else ""
    return f"{role} {', '.join(names[:_SHOWN_USERS])}{more}"
