"""Selection of a tree's manifest files, and checks over all of them.

Duplicates, references and cycles are checked; the order of the files makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Container
from dataclasses import dataclass, replace

from reconciler.manifests.admission import Admission
from reconciler.manifests.loader import FileContent, Manifest
from reconciler.manifests.messages import described, did_you_mean
from reconciler.manifests.yaml import place
from reconciler.types import ForeignRef, ObjectRef, Problem

#: A search for the most similar of 10,000 names takes up to a second, so their number is bounded.
MOST_HINTS = 20
#: References of a cycle that a message lists; of a longer cycle the rest is counted.
LONGEST_CHAIN = 12

_NAME = ("metadata", "name")


@dataclass(frozen=True, slots=True)
class Collection:
    """The valid objects of a tree, and all problems, sorted by place.

    ``others`` counts documents that are not manifests, ``files`` the files that were read.
    ``invalid`` are the objects with a problem; none of them is in ``objects``. ``unreadable`` are
    the problems of manifests whose object is unknown; ``doubts`` are those of files that hold no
    manifest by their looks, and are no problems unless an object was in the file before.
    """

    objects: dict[ObjectRef, Manifest]
    problems: tuple[Problem, ...]
    others: int
    files: int
    invalid: frozenset[ObjectRef]
    unreadable: tuple[Problem, ...] = ()
    doubts: tuple[Problem, ...] = ()


def collect(
    files: Iterable[FileContent],
    *,
    complete: bool = True,
    clusters: Container[str] | None = None,
    admission: Admission | None = None,
) -> Collection:
    """Collect the objects and problems of a tree's files.

    ``complete=False``: a referenced object may be in a file that was not given.
    ``clusters`` are the names that a reference's ``cluster`` may have; None: they are not known.

    An object that is defined twice is invalid: the order of file names must not select one.
    """
    contents = sorted(files, key=lambda content: content.path)
    if admission is not None:
        contents = [admission.tenancy.own(content) for content in contents]
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
    problems.extend(_without_artifact(objects))
    refused: list[Problem] = []
    if admission is not None:
        refused.extend(admission.problems(objects, objects))
    problems.extend(refused)
    if complete:
        problems.extend(_dangling(objects, known, [c.path for c in contents if c.broken]))
    # A reference that is not admitted must not make another's objects part of a cycle.
    outside = {problem.object for problem in refused}
    problems.extend(_cycles({ref: m for ref, m in objects.items() if ref not in outside}))
    invalid = frozenset(p.object for p in problems if p.object is not None)
    problems.extend(problem for content in contents for problem in content.foreign)
    return Collection(
        objects={ref: manifest for ref, manifest in objects.items() if ref not in invalid},
        problems=tuple(sorted(problems, key=place)),
        others=sum(content.others for content in contents),
        files=len(contents),
        invalid=invalid,
        unreadable=tuple(
            problem
            for content in contents
            for problem in content.problems
            if problem.object is None and not content.misnamed
        ),
        doubts=tuple(doubt for content in contents for doubt in content.doubts),
    )


def check_folders(found: Collection, has: Callable[[str], bool]) -> Collection:
    """Find sources in folders of this repository that do not exist.

    ``has`` tells of a path from the root of the repository if it is a folder.
    """
    own = [
        (manifest, field, git.path)
        for manifest in found.objects.values()
        for field, git in manifest.git_sources.items()
        if git.url == "."
    ]
    missing = {path for path in {path for _, _, path in own} if not has(path)}
    if not missing:
        return found
    problems = [
        manifest.problem(
            (*field.path, "git", "path"),
            f"there is no folder {described(path)} in this repository",
        )
        for manifest, field, path in own
        if path in missing
    ]
    invalid = {problem.object for problem in problems if problem.object is not None}
    return replace(
        found,
        objects={ref: manifest for ref, manifest in found.objects.items() if ref not in invalid},
        problems=tuple(sorted([*found.problems, *problems], key=place)),
        invalid=found.invalid | invalid,
    )


def amend(
    before: Collection,
    old: Sequence[FileContent],
    new: Sequence[FileContent],
    admission: Admission | None = None,
) -> Collection | None:
    """Update a collection after a change of some of its files.

    ``new`` replaces ``old``, file by file; the result is that of :func:`collect`. None if all
    files are needed: there was or is a problem, or the files define other objects or references.
    """
    if before.problems or any(content.problems for content in new):
        return None
    if any(content.doubts for content in (*old, *new)):
        return None
    if [_shape(content) for content in old] != [_shape(content) for content in new]:
        return None
    manifests = (manifest for content in new for manifest in content.manifests)
    others = sum(content.others for content in new) - sum(content.others for content in old)
    changed = {manifest.ref: manifest for manifest in manifests}
    objects = {**before.objects, **changed}
    if admission is not None and any(admission.problems(changed, objects)):
        return None
    return replace(
        before,
        objects=objects,
        others=before.others + others,
    )


def _shape(content: FileContent) -> object:
    return content.path, [
        (manifest.ref, manifest.references, manifest.makes_no_artifact)
        for manifest in content.manifests
    ]


def _without_artifact(objects: Mapping[ObjectRef, Manifest]) -> Iterator[Problem]:
    """Find references to objects that have no artifact of their own."""
    for manifest in objects.values():
        for ref, reference, path in manifest.references:
            target = objects.get(ref) if isinstance(ref, ObjectRef) else None
            if target is not None and target.makes_no_artifact and reference.key is None:
                message = (
                    f"{ref} has a matrix without best, and so no artifact; add its "
                    "training.matrix.best, or the key of one here"
                )
                yield manifest.problem((*path, "name"), message)


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
    """Find references to objects that do not exist; an invalid object exists."""
    hints: dict[ObjectRef, str] = {}
    for manifest in objects.values():
        for ref, _, path in manifest.references:
            if isinstance(ref, ForeignRef) or ref in known:
                continue
            if ref not in hints:
                hints[ref] = _hint(ref, known) if len(hints) < MOST_HINTS else ""
            unread = f"; it may be in {broken[0]}, which cannot be read" if broken else ""
            yield manifest.problem((*path, "name"), f"there is no {ref}{hints[ref] or unread}")


def _hint(ref: ObjectRef, known: Container[ObjectRef]) -> str:
    """Suggest the name elsewhere: another namespace, another kind, or a similar name."""
    named = (other for other in known if other.name == ref.name)
    same = min(named, key=lambda other: (other.kind is not ref.kind, other), default=None)
    if same is not None:
        return f"; there is a {same}"
    names = sorted({o.name for o in known if o.kind is ref.kind and o.namespace == ref.namespace})
    return did_you_mean(ref.name, names, most=3)


def _cycles(objects: dict[ObjectRef, Manifest]) -> Iterator[Problem]:
    """Report each object in a cycle of references that pin no key."""
    done: set[ObjectRef] = set()
    for start in sorted(objects):
        path: list[ObjectRef] = []
        on_path: set[ObjectRef] = set()
        stack: list[tuple[ObjectRef, bool]] = [(start, False)]
        while stack:
            ref, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(ref)
                done.add(ref)
            elif ref in on_path:
                yield from _cycle_problems(objects, path[path.index(ref) :])
            elif ref not in done and ref in objects:
                path.append(ref)
                on_path.add(ref)
                stack.append((ref, True))
                stack.extend((up, False) for up in _upstream(objects[ref]))


def _upstream(manifest: Manifest) -> list[ObjectRef]:
    """Referenced objects that the key depends on: those without a pin."""
    return [
        ref
        for ref, reference, _ in manifest.references
        if reference.key is None and isinstance(ref, ObjectRef)
    ]


def _cycle_problems(
    objects: dict[ObjectRef, Manifest], cycle: list[ObjectRef]
) -> Iterator[Problem]:
    """Report a problem for each member, whose chain begins with it."""
    same = len({ref.namespace for ref in cycle}) == 1
    names = [ref.name if same else f"{ref.namespace}/{ref.name}" for ref in cycle]
    for number, ref in enumerate(cycle):
        following = cycle[(number + 1) % len(cycle)]
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
