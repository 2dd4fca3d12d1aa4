"""All files of a tree together: duplicates, references, cycles. The order of files is no matter."""

from __future__ import annotations

import difflib
from collections.abc import Collection as Container
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reconciler.manifests.read import FileContent, Manifest
from reconciler.manifests.schema import ModelManifest, Reference
from reconciler.manifests.yaml import Path
from reconciler.types import Kind, ObjectRef, Problem


@dataclass(frozen=True, slots=True)
class Collection:
    """The valid objects of a tree, and everything wrong with the others, sorted by place.

    ``others`` counts documents that are not ours, ``files`` the files that were read.
    """

    objects: dict[ObjectRef, Manifest]
    problems: tuple[Problem, ...]
    others: int
    files: int
    invalid: frozenset[ObjectRef]


def references(manifest: Manifest) -> tuple[tuple[ObjectRef, Reference, Path], ...]:
    """What a manifest refers to: the object, the reference, and the field it is in."""
    document = manifest.document
    if not isinstance(document, ModelManifest):
        return ()
    found: list[tuple[Kind, Reference | None, Path]] = [
        (Kind.MODEL, document.spec.source.model, ("spec", "source", "model"))
    ]
    if document.spec.training is not None:
        found.append(
            (Kind.DATASET, document.spec.training.dataset, ("spec", "training", "dataset"))
        )
    return tuple(
        (ObjectRef(kind, ref.namespace or manifest.ref.namespace, ref.name), ref, path)
        for kind, ref, path in found
        if ref is not None
    )


def collect(
    files: Iterable[FileContent], *, complete: bool = True, clusters: Container[str] = ()
) -> Collection:
    """Put the files of a tree together.

    ``complete=False``: objects that are referred to may be elsewhere.
    ``clusters`` are the names that a reference's ``cluster`` may have.
    """
    contents = sorted(files, key=lambda content: content.path)
    problems = [problem for content in contents for problem in content.problems]
    objects: dict[ObjectRef, Manifest] = {}
    for content in contents:
        for manifest in content.manifests:
            first = objects.setdefault(manifest.ref, manifest)
            if first is not manifest:
                message = f"{manifest.ref} is defined already, in {first.locate(('metadata',))}"
                problems.append(manifest.problem(("metadata", "name"), message))
    known = objects.keys() | {p.object for p in problems if p.object is not None}
    for manifest in objects.values():
        problems.extend(_dangling(manifest, known, clusters, check=complete))
    problems.extend(_cycles(objects))
    invalid = frozenset(p.object for p in problems if p.object is not None)
    return Collection(
        objects={ref: manifest for ref, manifest in objects.items() if ref not in invalid},
        problems=tuple(sorted(problems, key=_order)),
        others=sum(content.others for content in contents),
        files=len(contents),
        invalid=invalid,
    )


def _order(problem: Problem) -> tuple[str, int, int, str]:
    place = problem.location
    return place.file, place.line, place.column, problem.field


def _dangling(
    manifest: Manifest,
    known: Container[ObjectRef | None],
    clusters: Container[str],
    *,
    check: bool,
) -> Iterator[Problem]:
    for ref, reference, path in references(manifest):
        if reference.cluster is not None:
            if reference.cluster not in clusters:
                message = f'cluster "{reference.cluster}" is not configured under clusters'
                yield manifest.problem((*path, "cluster"), message)
        elif check and ref not in known:
            yield manifest.problem((*path, "name"), f"there is no {ref}{_near(ref, known)}")


def _near(ref: ObjectRef, known: Container[ObjectRef | None]) -> str:
    names = {other.name: other for other in known if other is not None and other.kind is ref.kind}
    near = difflib.get_close_matches(ref.name, list(names), n=1, cutoff=0.6)
    return f"; did you mean {names[near[0]].namespace}/{near[0]}?" if near else ""


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
    return [ref for ref, reference, _ in references(manifest) if _follows(reference)]


def _follows(reference: Reference) -> bool:
    return reference.key is None and reference.cluster is None


def _told(objects: dict[ObjectRef, Manifest], circle: list[ObjectRef]) -> Iterator[Problem]:
    for number, ref in enumerate(circle):
        turned = [*circle[number:], *circle[:number], ref]
        chain = " → ".join(other.name for other in turned)
        manifest = objects[ref]
        path = next(path for up, _, path in references(manifest) if up == turned[1])
        yield manifest.problem((*path, "name"), f"the references go in a circle: {chain}")
