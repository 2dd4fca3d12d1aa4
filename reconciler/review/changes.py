"""The causes of changes: fields, sources and bases, to the root.

Two commits are compared object by object, upstream first, so that an object that changes only
because of what it is made from can name what that began with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import rfc8785

from reconciler.manifests import (
    Combination,
    Effect,
    Manifest,
    ModelManifest,
    effect_at,
    shown_path,
)
from reconciler.planner import ResolvedObject
from reconciler.reasons import Reason, message
from reconciler.types import (
    JSON,
    Commit,
    ForeignRef,
    ListingDigest,
    Location,
    ObjectRef,
    SourceField,
)

_SHOWN_FIELDS = 3
_SHOWN_VALUE = 48
_SHOWN_CHAIN = 4

Path = tuple[str, ...]

_EVALUATION = ("spec", "evaluation")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """A field of a manifest that differs, with its values cut short.

    Values are as their author wrote them.
    """

    path: Path
    before: str
    after: str
    effect: Effect

    @property
    def name(self) -> str:
        """The field, from within ``spec``: ``training.params.epochs``."""
        return shown_path(self.path[1:] if self.path[0] == "spec" else self.path)

    def __str__(self) -> str:
        return f"{self.name}: {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class SourceMove:
    """A source whose tree is another one, between these commits or listings.

    ``field`` names it.
    """

    where: str
    before: Commit | ListingDigest
    after: Commit | ListingDigest
    field: SourceField = SourceField.OBJECT

    @property
    def title(self) -> str:
        """The source, without its place."""
        return "evaluation source" if self.field is SourceField.EVALUATION else "source"

    def __str__(self) -> str:
        return f"{self.title} {self.where} moved: {self.before[:7]} → {self.after[:7]}"


@dataclass(frozen=True, slots=True)
class CombinationChange:
    """The combinations that one of two matrices has alone."""

    added: tuple[Combination, ...] = ()
    dropped: tuple[Combination, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The difference of an object between two commits.

    ``chain`` leads from the nearest object that it is made from, and that changes, to the one
    with which it began. ``root`` is the change of that one, or the reason why its key is unknown;
    or head does not have it any more (``gone``). Of a long chain those before the last are
    ``skipped``: a chain of bases can be as long as the repository. ``combinations`` are those of a
    sweep.
    """

    new: bool = False
    fields: tuple[FieldChange, ...] = ()
    moves: tuple[SourceMove, ...] = ()
    chain: tuple[ObjectRef, ...] = ()
    skipped: int = 0
    root: Change | Reason | None = None
    gone: bool = False
    place: Location | None = None
    combinations: CombinationChange = CombinationChange()

    @property
    def is_own(self) -> bool:
        """True if the object itself gives its artifact other inputs.

        Those of its evaluation are none of the artifact's.
        """
        keyed = any(c.effect is Effect.KEY and c.path[:2] != _EVALUATION for c in self.fields)
        return self.new or keyed or any(m.field is SourceField.OBJECT for m in self.moves)

    @property
    def own(self) -> str:
        """The object's own differences that affect its artifact, as text."""
        if self.new:
            return "new"
        text = [str(change) for change in self.fields if change.effect is Effect.KEY]
        return _few([*text, *map(str, self.moves)])

    @property
    def because(self) -> str:
        """The chain in words; empty where nothing upstream changes."""
        if not self.chain:
            return ""
        first, *rest = self.chain
        if self.gone and not rest:
            return f"because {first} is gone"
        names = [str(ref) for ref in rest]
        if self.skipped:
            names.insert(-1, f"… ({self.skipped} between)")
        via = "".join(f", due to {name}" for name in names)
        root = ", which is gone" if self.gone else f" ({cause})" if (cause := self._cause) else ""
        return f"because {first} changes{via}{root}"

    @property
    def _cause(self) -> str:
        if isinstance(self.root, Reason):
            return message(self.root)
        return self.root.own if self.root is not None else ""

    def __str__(self) -> str:
        execution_hash = _few([str(c) for c in self.fields if c.effect is not Effect.KEY])
        return "; ".join(part for part in (self.own, self.because) if part) or execution_hash


def explain(
    base: Mapping[ObjectRef, ResolvedObject], head: Mapping[ObjectRef, ResolvedObject]
) -> dict[ObjectRef, Change]:
    """Explain each object that differs between two commits.

    In the order of ``head``.

    That is upstream first.
    """
    found: dict[ObjectRef, Change] = {}
    for ref, item in head.items():
        why = _why(item, base.get(ref), base, head, found)
        if why is not None:
            found[ref] = why
    return found


def _why(
    item: ResolvedObject,
    before: ResolvedObject | None,
    base: Mapping[ObjectRef, ResolvedObject],
    head: Mapping[ObjectRef, ResolvedObject],
    found: Mapping[ObjectRef, Change],
) -> Change | None:
    if before is None:
        return Change(new=True, place=item.manifest.locate(()))
    fields: tuple[FieldChange, ...] = ()
    if before.manifest.digest != item.manifest.digest:
        fields = tuple(changed_fields(before.manifest, item.manifest))
    moves = tuple(_moves(before, item))
    chain = _chain(item, base, head, found)
    if fields or moves or chain.refs:
        return Change(
            fields=fields,
            moves=moves,
            chain=chain.refs,
            root=chain.root,
            gone=chain.gone,
            skipped=chain.skipped,
            place=item.manifest.locate(fields[0].path if fields else ()),
            combinations=_combinations(before.manifest, item.manifest),
        )
    return None


def _combinations(before: Manifest, after: Manifest) -> CombinationChange:
    """Compare the combinations of two matrices."""
    old, new = _matrix(before), _matrix(after)
    if not old or not new:
        return CombinationChange()
    return CombinationChange(
        added=tuple(params for text, params in new.items() if text not in old),
        dropped=tuple(params for text, params in old.items() if text not in new),
    )


def _matrix(manifest: Manifest) -> dict[bytes, Combination]:
    """Return the combinations by the canonical form of their params."""
    document = manifest.document
    training = document.spec.training if isinstance(document, ModelManifest) else None
    if training is None or training.matrix is None:
        return {}
    combinations = training.matrix.combinations()
    return {rfc8785.dumps({**training.params, **each}): each for each in combinations}


def _moves(before: ResolvedObject, after: ResolvedObject) -> Iterator[SourceMove]:
    if before.data is not None and after.data is not None:
        was, now = before.data.listing.digest, after.data.listing.digest
        if was != now:
            yield SourceMove(after.data.request.url, was, now)
    for new in after.sources:
        old = before.source_of(new.field)
        if old is not None and old.resolved.tree != new.resolved.tree:
            where = new.request.path or new.request.url
            yield SourceMove(where, old.resolved.commit, new.resolved.commit, new.field)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """The chain of objects to the root of a change; see :class:`Change`."""

    refs: tuple[ObjectRef, ...] = ()
    root: Change | Reason | None = None
    gone: bool = False
    skipped: int = 0


def _chain(
    item: ResolvedObject,
    base: Mapping[ObjectRef, ResolvedObject],
    head: Mapping[ObjectRef, ResolvedObject],
    found: Mapping[ObjectRef, Change],
) -> _Chain:
    """Follow the first reference that changes to the root of its change."""
    for ref, reference, _ in item.manifest.references:
        if reference.key is not None or isinstance(ref, ForeignRef):
            continue  # whatever it is made into, that is not between these two commits
        was, now = base.get(ref), head.get(ref)
        if was is None:
            continue
        if now is None:
            return _Chain(refs=(ref,), gone=True)
        if was.key == now.key:
            continue
        why = found.get(ref)
        if why is None:
            return _Chain(refs=(ref,), root=now.blocked)
        if why.is_own or not why.chain:
            return _Chain(refs=(ref,), root=why)
        chain, skipped = (ref, *why.chain), why.skipped
        if len(chain) > _SHOWN_CHAIN:
            chain, skipped = (*chain[: _SHOWN_CHAIN - 1], chain[-1]), skipped + 1
        return _Chain(refs=chain, root=why.root, gone=why.gone, skipped=skipped)
    return _Chain()


def changed_fields(before: Manifest, after: Manifest) -> Iterator[FieldChange]:
    """Yield the fields that differ in meaning.

    They are of the spec and of annotations that affect keys or execution.
    """
    old, new = _flat(before), _flat(after)
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path) or (path in old) != (path in new):
            was = _written(before, path, old)
            now = _written(after, path, new)
            if was == now == "(none)":  # a list or mapping that is empty, or not there
                continue
            was, now = _cut(was, now)
            effect = effect_at(type(after.document), path)
            yield FieldChange(path=path, before=was, after=now, effect=effect)


def _flat(manifest: Manifest) -> dict[Path, JSON]:
    """Return all leaves of a manifest by path, with defaults filled in."""
    document = manifest.document
    spec = document.spec.model_dump(mode="json", by_alias=True)
    metadata: dict[str, JSON] = {
        "annotations": dict(document.metadata.annotations),
        "labels": dict(document.metadata.labels),
    }
    return _leaves(spec, ("spec",)) | _leaves(metadata, ("metadata",))


def _leaves(value: JSON, path: Path) -> dict[Path, JSON]:
    if isinstance(value, dict):
        found: dict[Path, JSON] = {}
        for name, inner in value.items():
            found |= _leaves(inner, (*path, name))
        return found
    if value is None and "params" not in path:  # a param may be null, and is then there
        return {}
    return {path: value}


def _written(manifest: Manifest, path: Path, meant: Mapping[Path, JSON]) -> str:
    """Return a value as its author wrote it; defaults are marked."""
    value: JSON = manifest.source.value
    for part in path:
        if not isinstance(value, dict) or part not in value:
            if path not in meant or meant[path] in ("", [], {}):
                return "(none)"
            default = meant[path]
            timed = path[-1] == "timeout" and isinstance(default, float)
            return f"{_duration(default) if timed else _text(default)} (default)"
        value = value[part]
    return _text(value)


def _duration(value: JSON) -> str:
    """Seconds, as a manifest would say them."""
    assert isinstance(value, float)
    for unit, size in (("h", 3600), ("m", 60)):
        if value % size == 0:
            return f"{value / size:.0f}{unit}"
    return f"{value:g}s"


def _text(value: JSON) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(before: str, after: str) -> tuple[str, str]:
    """Cut long values to start a little before their first difference."""
    if len(before) <= _SHOWN_VALUE and len(after) <= _SHOWN_VALUE:
        return before, after
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    start = max(0, same - _SHOWN_VALUE // 3)

    def shown(value: str) -> str:
        part = value[start : start + _SHOWN_VALUE]
        end = "…" if start + _SHOWN_VALUE < len(value) else ""
        return f"{'…' if start else ''}{part}{end}"

    return shown(before), shown(after)


def _few(text: list[str]) -> str:
    more = len(text) - _SHOWN_FIELDS
    shown = ", ".join(text[:_SHOWN_FIELDS])
    return f"{shown} and {more} more" if more > 0 else shown
