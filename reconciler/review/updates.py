"""Updates of pinned commits and keys. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler.manifests import ModelManifest
from reconciler.planner import Plan, RemoteObject, RemoteStatus, ResolvedObject, Source
from reconciler.review.escape import code
from reconciler.review.figures import format_number
from reconciler.types import (
    Commit,
    ForeignRef,
    GitSource,
    Metrics,
    ObjectRef,
    ResolvedSource,
    SourceField,
    TaskKey,
)

SOURCE_KEY_FIELD = ("spec", "source", "model", "key")
_SHOWN = 12
#: Metrics that a request compares.
_MOST_METRICS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One pinned value of a manifest, and what it may become.

    ``source`` is the source that the value is of; ``text`` is Markdown, without the title.
    """

    ref: ObjectRef
    source: SourceField
    file: str
    field: tuple[str, ...]
    new: str
    title: str
    text: str


def pinned_sources(plan: Plan) -> Mapping[tuple[ObjectRef, SourceField], GitSource]:
    """Return each pinned source of another repository, without its pin."""
    return {
        (ref, source.field): replace(source.request, commit=None)
        for ref, item in _valid(plan)
        for source in item.sources
        if source.request.url and source.request.commit is not None
    }


def pinned_promotions(plan: Plan) -> Mapping[ObjectRef, ObjectRef | ForeignRef]:
    """Return whose artifact each promotion that pins a key takes over."""
    found = {}
    for ref, item in _valid(plan):
        if item.promoted is not None and _pinned_key(item) is not None:
            found[ref] = item.promoted
    return found


def _pinned_key(item: ResolvedObject) -> str | None:
    document = item.manifest.document
    reference = document.spec.source.model if isinstance(document, ModelManifest) else None
    return reference.key if reference is not None else None


def source_updates(
    plan: Plan, heads: Mapping[tuple[ObjectRef, SourceField], ResolvedSource]
) -> Iterator[Update]:
    """Yield updates of commits whose folder differs at the remote's HEAD."""
    for ref, item in _valid(plan):
        for source in item.sources:
            head = heads.get((ref, source.field))
            if head is None or head.tree == source.resolved.tree:
                continue
            evaluation = source.field is SourceField.EVALUATION
            subject = f"the evaluation of {ref}" if evaluation else str(ref)
            yield Update(
                ref=ref,
                source=source.field,
                file=item.manifest.file,
                field=(*source.field.path, "git", "commit"),
                new=head.commit,
                title=f"Update {subject} to commit {head.commit[:_SHOWN]}",
                text=_source_text(ref, source, head.commit),
            )


def promotion_updates(plan: Plan, remote: RemoteStatus) -> Iterator[Update]:
    """Yield updates of promotions to the current artifact."""
    for ref, promoted in pinned_promotions(plan).items():
        item = plan.inputs.desired[ref]
        pinned = TaskKey(_pinned_key(item) or "")
        found = _current(plan, remote, promoted)
        if found is None or found[0] == pinned:
            continue
        key, metrics = found
        before = plan.inputs.ledger.result(pinned)
        yield Update(
            ref=ref,
            source=SourceField.OBJECT,
            file=item.manifest.file,
            field=SOURCE_KEY_FIELD,
            new=key,
            title=f"Promote artifact {key[:_SHOWN]} to {ref}",
            text=_promotion_text(
                ref,
                promoted,
                (pinned, before.result.metrics if before is not None else None),
                (key, metrics),
            ),
        )


def _valid(plan: Plan) -> Iterator[tuple[ObjectRef, ResolvedObject]]:
    for ref, item in plan.inputs.desired.items():
        if ref not in plan.inputs.invalid:
            yield ref, item


def _current(
    plan: Plan, remote: RemoteStatus, promoted: ObjectRef | ForeignRef
) -> tuple[TaskKey, Metrics | None] | None:
    """Return the current artifact of an object, with known metrics."""
    if isinstance(promoted, ForeignRef):
        status = remote.get(promoted)
        current = status.current if isinstance(status, RemoteObject) else None
        return (current.key, None) if current is not None else None
    record = plan.inputs.records.get(promoted)
    artifact = record.artifact if record is not None else None
    if artifact is None:
        return None
    return artifact.key, artifact.metrics


def _source_text(ref: ObjectRef, source: Source, newest: Commit) -> str:
    of = "the evaluation of " if source.field is SourceField.EVALUATION else ""
    begin = f"{of}{code(str(ref))} pins a commit of {code(source.request.url)}"
    return (
        f"{begin[:1].upper()}{begin[1:]}, whose HEAD has other files in "
        f"{code(source.request.path or '.')} now.\n\n"
        f"| | commit |\n|---|---|\n| pinned | {code(source.resolved.commit)} |\n"
        f"| newest | {code(newest)} |\n"
    )


def _promotion_text(
    ref: ObjectRef,
    promoted: ObjectRef | ForeignRef,
    before: tuple[TaskKey, Metrics | None],
    after: tuple[TaskKey, Metrics | None],
) -> str:
    names = list(dict.fromkeys([*(before[1] or {}), *(after[1] or {})]))[:_MOST_METRICS]
    rows = [("artifact", code(before[0]), code(after[0]))]
    rows += [(code(name), _shown(before[1], name), _shown(after[1], name)) for name in names]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"{code(str(promoted))} has another artifact than the one that {code(str(ref))} serves.\n\n"
        f"| | serves | would serve |\n|---|---|---|\n{table}\n"
    )


def _shown(metrics: Metrics | None, name: str) -> str:
    return code(format_number(metrics[name])) if metrics is not None and name in metrics else "-"


def by_urgency(updates: Iterable[Update]) -> list[Update]:
    """Sort updates: promotions first, then by object, and the evaluation's source last."""
    return sorted(
        updates,
        key=lambda u: (u.field != SOURCE_KEY_FIELD, u.ref, u.source is SourceField.EVALUATION),
    )
