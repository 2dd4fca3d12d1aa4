"""All files of a tree together: duplicates, references, cycles. The order of files is no matter."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.manifests.loader import FileContent, Manifest
from reconciler.manifests.messages import did_you_mean
from reconciler.manifests.yaml import place
from reconciler.types import ForeignRef, ObjectRef, Problem

#: Looking for the likeliest name among 10,000 takes up to a second, so it is not done for ever.
MOST_HINTS = 20
#: Of a longer circle of references the rest is only counted.
LONGEST_CHAIN = 12

_NAME = ("metadata", "name")


@dataclass(frozen=True, slots=True)
class Collection:
    """The valid objects of a tree, and everything wrong with the others, sorted by place.

    ``others`` counts documents that are not ours, ``files`` the files that were read. ``invalid``
    are the objects that a problem concerns, none of which is among ``objects``.
    """

    objects: dict[ObjectRef, Manifest]
    problems: tuple[Problem, ...]
    others: int
    files: int
    invalid: frozenset[ObjectRef]


def collect(
    files: Iterable[FileContent],
    *,
    complete: bool = True,
    clusters: Container[str] | None = None,
) -> Collection:
    """Put the files of a tree together.

    ``complete=False``: objects that are referred to may be elsewhere.
    ``clusters`` are the names that a reference's ``cluster`` may have; None: they are not known.

    An object that is defined twice is invalid as a whole: which of the two is meant is not for
    the names of the files to decide.
    """
    contents = sorted(files, key=lambda content: content.path)
    problems = [problem for content in contents for problem in content.problems]
    objects: dict[ObjectRef, Manifest] = {}
    for content in contents:
        for manifest in content.manifests:
            first = objects.setdefault(manifest.ref, manifest)
            if first is not manifest:
                message = f"{manifest.ref} is defined already, in {first.locate(_NAME)}"
                problems.append(manifest.problem(_NAME, message))
    known = objects.keys() | {p.object for p in problems if p.object is not None}
    if clusters is not None:
        problems.extend(_unknown_clusters(objects, clusters))
    if complete:
        problems.extend(_dangling(objects, known, [c.path for c in contents if c.broken]))
    problems.extend(_cycles(objects))
    invalid = frozenset(p.object for p in problems if p.object is not None)
    return Collection(
        objects={ref: manifest for ref, manifest in objects.items() if ref not in invalid},
        problems=tuple(sorted(problems, key=place)),
        others=sum(content.others for content in contents),
        files=len(contents),
        invalid=invalid,
    )


def amend(
    before: Collection, old: Sequence[FileContent], new: Sequence[FileContent]
) -> Collection | None:
    """What :func:`collect` would say once ``new`` are in the place of ``old``, file by file.

    None where that takes a look at all files: something was or is wrong, or it is not the same
    objects with the same references that the files hold.
    """
    if before.problems or any(content.problems for content in new):
        return None
    if [_shape(content) for content in old] != [_shape(content) for content in new]:
        return None
    manifests = (manifest for content in new for manifest in content.manifests)
    others = sum(content.others for content in new) - sum(content.others for content in old)
    return replace(
        before,
        objects={**before.objects, **{manifest.ref: manifest for manifest in manifests}},
        others=before.others + others,
    )


def _shape(content: FileContent) -> object:
    return content.path, [(manifest.ref, manifest.references) for manifest in content.manifests]


def _unknown_clusters(
    objects: Mapping[ObjectRef, Manifest], clusters: Container[str]
) -> Iterator[Problem]:
    for manifest in objects.values():
        for _, reference, path in manifest.references:
            name = reference.cluster
            if name is not None and name not in clusters:
                message = f'cluster "{name}" is not configured under clusters'
                yield manifest.problem((*path, "cluster"), message)


def _dangling(
    objects: Mapping[ObjectRef, Manifest], known: Container[ObjectRef], broken: list[str]
) -> Iterator[Problem]:
    """References to what is not there. A referenced object that is invalid is there."""
    hints: dict[ObjectRef, str] = {}
    for manifest in objects.values():
        for ref, _, path in manifest.references:
            if isinstance(ref, ForeignRef) or ref in known:
                continue
            if ref not in hints:
                hints[ref] = _hint(ref, known) if len(hints) < MOST_HINTS else ""
            lost = f"; it may be in {broken[0]}, which cannot be read" if broken else ""
            yield manifest.problem((*path, "name"), f"there is no {ref}{hints[ref] or lost}")


def _hint(ref: ObjectRef, known: Container[ObjectRef]) -> str:
    """The same name in another namespace, else of the other kind, else a similar name."""
    named = (other for other in known if other.name == ref.name)
    same = min(named, key=lambda other: (other.kind is not ref.kind, other), default=None)
    if same is not None:
        return f"; there is a {same}"
    names = sorted({o.name for o in known if o.kind is ref.kind and o.namespace == ref.namespace})
    return did_you_mean(ref.name, names)


def _cycles(objects: dict[ObjectRef, Manifest]) -> Iterator[Problem]:
    """Every object in a circle of references without a key, with the circle told from it."""
    done: set[ObjectRef] = set()
    for start in sorted(objects):
        trail: list[ObjectRef] = []
        on_trail: set[ObjectRef] = set()
        stack: list[tuple[ObjectRef, bool]] = [(start, False)]
        while stack:
            ref, leaving = stack.pop()
            if leaving:
                trail.pop()
                on_trail.discard(ref)
                done.add(ref)
            elif ref in on_trail:
                yield from _told(objects, trail[trail.index(ref) :])
            elif ref not in done and ref in objects:
                trail.append(ref)
                on_trail.add(ref)
                stack.append((ref, True))
                stack.extend((up, False) for up in _upstream(objects[ref]))


def _upstream(manifest: Manifest) -> list[ObjectRef]:
    """What decides the manifest's key. A reference with a key names something made already."""
    return [
        ref
        for ref, reference, _ in manifest.references
        if reference.key is None and isinstance(ref, ObjectRef)
    ]


def _told(objects: dict[ObjectRef, Manifest], circle: list[ObjectRef]) -> Iterator[Problem]:
    """One problem for each member, whose chain begins at it."""
    same = len({ref.namespace for ref in circle}) == 1
    names = [ref.name if same else f"{ref.namespace}/{ref.name}" for ref in circle]
    for number, ref in enumerate(circle):
        following = circle[(number + 1) % len(circle)]
        manifest = objects[ref]
        path = next(path for up, _, path in manifest.references if up == following)
        message = f"the references go in a circle: {_chain(names, number)}"
        yield manifest.problem((*path, "name"), message)


def _chain(names: list[str], start: int) -> str:
    shown = min(len(names), LONGEST_CHAIN)
    chain = [names[(start + step) % len(names)] for step in range(shown)]
    if shown < len(names):
        chain.append(f"({len(names) - shown} more)")
    return " → ".join([*chain, names[start]])
