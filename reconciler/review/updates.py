"""Updates of pinned commits and keys. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from reconciler.manifests import ModelManifest
from reconciler.planner import Plan, RemoteObject, RemoteStatus, ResolvedObject, Source
from reconciler.review.downstream import Downstream, merge_text
from reconciler.review.escape import code, table_row
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
#: The title of the row of what the runs of an artifact have cost.
_COST = "cost of its runs (estimate)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One pinned value of a manifest, and what it may become.

    ``source`` is the source that the value is of; ``text`` is Markdown, without the title. The
    ``estimate`` of its runs stands after it: each run that ends may move it.
    """

    ref: ObjectRef
    source: SourceField
    file: str
    field: tuple[str, ...]
    new: str
    title: str
    text: str
    estimate: str = dataclasses.field(default="", compare=False)


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
    downstream = Downstream(plan)
    for ref, item in _valid(plan):
        for source in item.sources:
            head = heads.get((ref, source.field))
            if head is None or head.tree == source.resolved.tree:
                continue
            evaluation = source.field is SourceField.EVALUATION
            subject = f"the evaluation of {ref}" if evaluation else str(ref)
            runs = downstream.of_source(ref, source.field)
            yield Update(
                ref=ref,
                source=source.field,
                file=item.manifest.file,
                field=(*source.field.path, "git", "commit"),
                new=head.commit,
                title=f"Update {subject} to commit {head.commit[:_SHOWN]}",
                text=f"{_source_text(ref, source, head.commit)}\n{merge_text(runs)}",
                estimate=downstream.estimate(runs),
            )


def promotion_updates(plan: Plan, remote: RemoteStatus) -> Iterator[Update]:
    """Yield updates of promotions to the current artifact."""
    downstream = Downstream(plan)
    for ref, promoted in pinned_promotions(plan).items():
        item = plan.inputs.desired[ref]
        pinned = TaskKey(_pinned_key(item) or "")
        made = _Artifacts(plan, remote, promoted)
        key = made.current
        if key is None or key == pinned:
            continue
        runs = downstream.of_artifact(ref)
        compared = _promotion_text(ref, promoted, _columns(made, pinned), _columns(made, key))
        yield Update(
            ref=ref,
            source=SourceField.OBJECT,
            file=item.manifest.file,
            field=SOURCE_KEY_FIELD,
            new=key,
            title=f"Promote artifact {key[:_SHOWN]} to {ref}",
            text=f"{compared}\n{merge_text(runs)}",
            estimate=downstream.estimate(runs),
        )


def _valid(plan: Plan) -> Iterator[tuple[ObjectRef, ResolvedObject]]:
    for ref, item in plan.inputs.desired.items():
        if ref not in plan.inputs.invalid:
            yield ref, item


@dataclass(frozen=True, slots=True)
class _Artifacts:
    """The recorded artifacts of one object, here or in another cluster."""

    plan: Plan
    remote: RemoteStatus
    of: ObjectRef | ForeignRef

    @property
    def current(self) -> TaskKey | None:
        """The key of the current one."""
        if isinstance(self.of, ForeignRef):
            current = self._remote.current if self._remote is not None else None
            return current.key if current is not None else None
        record = self.plan.inputs.records.get(self.of)
        artifact = record.artifact if record is not None else None
        return artifact.key if artifact is not None else None

    def metrics(self, key: TaskKey) -> Metrics | None:
        """Return the known metrics of one."""
        if isinstance(self.of, ForeignRef):
            found = self._remote.artifacts.get(key) if self._remote is not None else None
            return found.metrics if found is not None else None
        record = self.plan.inputs.records.get(self.of)
        artifact = record.artifact if record is not None else None
        if artifact is not None and artifact.key == key:
            return artifact.metrics
        made = self.plan.inputs.ledger.result(key)
        return made.result.metrics if made is not None else None

    def cost(self, key: TaskKey) -> float | None:
        """Return the recorded cost of all runs for one, None if unknown.

        Another cluster's is: its prices are its own. So is that of what ran before there were
        prices, or for free, and of a run whose time is not recorded: one that nobody saw, or that
        another object pays.
        """
        record = self.plan.inputs.records.get(self.of) if isinstance(self.of, ObjectRef) else None
        history = record.history if record is not None else ()
        made = [entry for entry in history if entry.key == key]
        if not made or not all(entry.timed for entry in made):
            return None
        cost = sum(entry.cost for entry in made)
        at_once = all(entry.instant for entry in made) and self.plan.inputs.settings.prices
        return cost if cost or at_once else None

    @property
    def _remote(self) -> RemoteObject | None:
        found = self.remote.get(self.of) if isinstance(self.of, ForeignRef) else None
        return found if isinstance(found, RemoteObject) else None


def _columns(made: _Artifacts, key: TaskKey) -> Mapping[str, str]:
    """Return a request's cells of an artifact, by row title."""
    metrics, cost = made.metrics(key) or {}, made.cost(key)
    found = {"artifact": code(key)}
    found |= {code(name): code(format_number(value)) for name, value in metrics.items()}
    if cost is not None:
        found[_COST] = code(made.plan.inputs.settings.prices.shown(cost))
    return found


def _source_text(ref: ObjectRef, source: Source, newest: Commit) -> str:
    of = "the evaluation of " if source.field is SourceField.EVALUATION else ""
    begin = f"{of}{code(str(ref))} pins a commit of {code(source.request.url)}"
    return (
        f"{begin[:1].upper()}{begin[1:]}, whose HEAD has other files in "
        f"{code(source.request.path or '.')} now.\n\n"
        f"| | commit |\n|---|---|\n{table_row(('pinned', code(source.resolved.commit)))}\n"
        f"{table_row(('newest', code(newest)))}\n"
    )


def _promotion_text(
    ref: ObjectRef,
    promoted: ObjectRef | ForeignRef,
    before: Mapping[str, str],
    after: Mapping[str, str],
) -> str:
    titles = [title for title in dict.fromkeys([*before, *after]) if title != _COST]
    titles = [*titles[: 1 + _MOST_METRICS], *(_COST for _ in {_COST} & {*before, *after})]
    rows = [(title, before.get(title, "-"), after.get(title, "-")) for title in titles]
    table = "\n".join(map(table_row, rows))
    return (
        f"{code(str(promoted))} has another artifact than the one that {code(str(ref))} serves.\n\n"
        f"| | serves | would serve |\n|---|---|---|\n{table}\n"
    )


def by_urgency(updates: Iterable[Update]) -> list[Update]:
    """Sort updates: promotions first, then by object, and the evaluation's source last."""
    return sorted(
        updates,
        key=lambda u: (u.field != SOURCE_KEY_FIELD, u.ref, u.source is SourceField.EVALUATION),
    )
