"""Reading of one file: manifests, or problems with their place.

Pure, so callers cache the result by blob id.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeAlias

from reconciler.manifests import patterns
from reconciler.manifests.effects import FORMERLY_ANNOTATION
from reconciler.manifests.messages import described, did_you_mean
from reconciler.manifests.packed import PackedDocument
from reconciler.manifests.rules import check
from reconciler.manifests.schema import (
    DatasetManifest,
    ManifestDocument,
    ModelManifest,
)
from reconciler.manifests.sources import GitSection, ObservedBucketSection, Reference
from reconciler.manifests.yaml import (
    MOST_PROBLEMS,
    Document,
    place,
    scan_documents,
    validate,
)
from reconciler.manifests.yaml_nodes import Path
from reconciler.types import (
    API_VERSION,
    GROUP,
    JSON,
    ForeignRef,
    Kind,
    Location,
    ObjectRef,
    Problem,
    SourceField,
)

_CLASSES: Mapping[Kind, type[ModelManifest | DatasetManifest]] = {
    Kind.MODEL: ModelManifest,
    Kind.DATASET: DatasetManifest,
}
_LIST = "List"
_NAME = re.compile(patterns.NAME)
#: What a text that cannot be parsed is taken for a manifest by: our version, a kind of ours, or a
#: kind that cannot be read.
_SIGN = re.compile(
    rb"""\bapiVersion["']?\s*:\s*["']?substratus\.ai/|\bkind["']?\s*:[\s["'{]*(Model|Dataset)\b"""
    rb"""|^["']?kind["']?[ \t]*:[ \t]*\[?[ \t]*\r?$""",
    re.MULTILINE,
)
_NO_MANIFEST = "; if it is no manifest, name it in .reconcilerignore"

#: The fields that hold references.
BASE_FIELD: Path = ("spec", "source", "model")
DATASET_FIELD: Path = ("spec", "training", "dataset")
EVALUATION_DATASET_FIELD: Path = ("spec", "evaluation", "dataset")

#: The object, the reference, and the field it is in.
Referred: TypeAlias = tuple[ObjectRef | ForeignRef, Reference, Path]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest.

    ``digest`` is the SHA-256 of the parsed document: comments do not change it.
    """

    ref: ObjectRef
    document: ManifestDocument
    file: str
    digest: str
    packed: PackedDocument = field(repr=False, compare=False)
    #: Computed once, as every sync reads these of every manifest.
    git_sources: Mapping[SourceField, GitSection] = field(init=False, repr=False, compare=False)
    observed: ObservedBucketSection | None = field(init=False, repr=False, compare=False)
    sources: Mapping[SourceField, GitSection | ObservedBucketSection] = field(
        init=False, repr=False, compare=False
    )
    references: tuple[Referred, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        git, observed = _git_sources(self.document), _observed(self.document)
        object.__setattr__(self, "git_sources", git)
        object.__setattr__(self, "observed", observed)
        sources = git if observed is None else {SourceField.OBJECT: observed}
        object.__setattr__(self, "sources", sources)
        object.__setattr__(self, "references", _references(self.ref, self.document))

    @property
    def source(self) -> Document:
        """The document, unpacked."""
        return self.packed.document()

    @property
    def makes_no_artifact(self) -> bool:
        """True for a sweep that chooses none of its artifacts."""
        document = self.document
        training = document.spec.training if isinstance(document, ModelManifest) else None
        matrix = training.matrix if training is not None else None
        return matrix is not None and matrix.best is None

    def locate(self, path: Path) -> Location:
        """The place of a field, or of the nearest one around it."""
        return self.packed.locate(path)

    def problem(self, path: Path, message: str) -> Problem:
        """Make a problem with a field of this manifest."""
        return self.source.problem(path, message, self.ref)


def _git_sources(document: ManifestDocument) -> Mapping[SourceField, GitSection]:
    """All Git sources of an object, by the field that names them."""
    own = document.spec.source.git
    found = {SourceField.OBJECT: own} if own is not None else {}
    evaluation = document.spec.evaluation if isinstance(document, ModelManifest) else None
    if evaluation is not None and evaluation.source is not None:
        found[SourceField.EVALUATION] = evaluation.source.git
    return found


def _observed(document: ManifestDocument) -> ObservedBucketSection | None:
    """The bucket in which changes are looked for, if any."""
    if isinstance(document, ModelManifest):
        return None
    bucket = document.spec.source.bucket
    return bucket if bucket is not None and bucket.update is not None else None


def _references(ref: ObjectRef, document: ManifestDocument) -> tuple[Referred, ...]:
    """All references of an object, in a fixed order."""
    if not isinstance(document, ModelManifest):
        return ()
    found: list[tuple[Kind, Reference | None, Path]] = [
        (Kind.MODEL, document.spec.source.model, BASE_FIELD)
    ]
    if document.spec.training is not None:
        found.append((Kind.DATASET, document.spec.training.dataset, DATASET_FIELD))
    if document.spec.evaluation is not None:
        found.append((Kind.DATASET, document.spec.evaluation.dataset, EVALUATION_DATASET_FIELD))
    return tuple(
        (_target(ref, kind, reference), reference, path)
        for kind, reference, path in found
        if reference is not None
    )


def _target(ref: ObjectRef, kind: Kind, reference: Reference) -> ObjectRef | ForeignRef:
    """The object that a reference names."""
    target = ObjectRef(kind, reference.namespace or ref.namespace, reference.name)
    return target if reference.cluster is None else ForeignRef(reference.cluster, target)


def identity_of(manifest: Manifest, cluster: str) -> tuple[str, ObjectRef]:
    """Return the cluster and object of a manifest's keys, perhaps former ones."""
    ref = manifest.ref
    formerly = manifest.document.metadata.annotations.get(FORMERLY_ANNOTATION)
    if not formerly:
        return cluster, ref
    *rest, name = formerly.split("/")
    namespace = rest[-1] if rest else ref.namespace
    return rest[0] if len(rest) > 1 else cluster, ObjectRef(ref.kind, namespace, name)


@dataclass(frozen=True, slots=True)
class FileContent:
    """Manifests and problems of one file.

    ``others`` counts documents that are not manifests.
    ``broken``: the file could not be read to its end, so objects that it defined before must not be
    taken for deleted. ``doubts`` are the problems of what does not look like a manifest; they count
    if an object was in the file before. ``misnamed``: it holds no manifest, and its name alone is
    wrong. ``foreign`` are the problems of what the file's tenant may not define, which are of no
    object.
    """

    path: str
    manifests: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()
    others: int = 0
    broken: bool = False
    doubts: tuple[Problem, ...] = ()
    misnamed: bool = False
    foreign: tuple[Problem, ...] = ()


def read_file(path: str, data: bytes, *, default_namespace: str = "default") -> FileContent:
    """Read every manifest of a file, and find all problems of each.

    A document that says neither ``apiVersion: substratus.ai/…`` nor a kind of ours is no manifest,
    and text that cannot be parsed is one only if it says so.

    Names of files are bytes in Git, but status files are text and contain them. A file whose name
    is not UTF-8 (``path`` then has the lone surrogates of ``os.fsdecode``) is a problem as a whole.
    """
    shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    content = _read_documents(shown, data, default_namespace)
    if shown == path:
        return content
    message = f"the name of the file is not UTF-8 text; give it another{_NO_MANIFEST}"
    problem = Problem(Location(shown), "", message)
    ours = bool(content.manifests or content.problems)
    return replace(content, manifests=(), problems=(problem,), broken=ours, misnamed=not ours)


def _read_documents(path: str, data: bytes, default_namespace: str) -> FileContent:
    documents, failure = scan_documents(data, path)
    manifests: list[Manifest] = []
    problems: list[Problem] = []
    doubts: list[Problem] = []
    others = 0
    for document in documents:
        for item in _items(document):
            if not _is_manifest(item.value):
                others += 1
                doubts.extend(_doubts(item))
                continue
            found = _read(item, default_namespace)
            if isinstance(found, Manifest):
                manifests.append(found)
            else:
                problems.extend(found)
    broken = failure is not None and bool(manifests or problems or _looks_like_ours(data))
    if failure is not None:
        failure = replace(failure, message=f"{failure.message}{_NO_MANIFEST}")
        (problems if broken else doubts).append(failure)
        others = others if broken else 1
    return FileContent(path, tuple(manifests), tuple(problems), others, broken, tuple(doubts))


def _looks_like_ours(data: bytes) -> bool:
    """Return whether unparsable text claims to be a manifest."""
    return _SIGN.search(data.replace(b"\0", b"")) is not None  # UTF-16 has a NUL at each letter


def _doubts(document: Document) -> Iterator[Problem]:
    value = document.value
    if isinstance(value, dict) and "kind" in value and value.get("apiVersion") is None:
        yield document.problem(("kind",), _unknown_kind(value["kind"]))


def _items(document: Document) -> Iterator[Document]:
    """The document itself, or each item of a ``kind: List``, recursively."""
    value = document.value
    if (
        isinstance(value, dict)
        and value.get("kind") == _LIST
        and value.get("apiVersion") in (None, "v1", API_VERSION)
        and isinstance(value.get("items"), list)
    ):
        for item in document.items("items"):
            if item.value is not None:
                yield from _items(item)
    else:
        yield document


def _is_manifest(value: JSON) -> bool:
    if not isinstance(value, dict):
        return False
    version = value.get("apiVersion")
    if version is None:
        return "kind" in value and _is_kind_of_ours(value)
    return isinstance(version, str) and version.startswith(f"{GROUP}/")


def _is_kind_of_ours(value: Mapping[str, JSON]) -> bool:
    """Return whether a kind is one of ours, perhaps mistyped."""
    kind, spec = value["kind"], value.get("spec")
    if isinstance(kind, str) and kind in (*Kind, _LIST):
        return True
    if not isinstance(value.get("metadata"), dict):
        return False
    meant = isinstance(kind, str) and bool(_nearest_kind(kind))
    return meant or (isinstance(spec, dict) and "source" in spec)


def _read(document: Document, default_namespace: str) -> Manifest | list[Problem]:
    value = document.value
    assert isinstance(value, dict)
    kind = next((k for k in Kind if k.value == value.get("kind")), None)
    ref = _ref(kind, value, default_namespace) if kind is not None else None
    problems = document.problems(ref)
    version = value.get("apiVersion")
    if version not in (None, API_VERSION):
        message = f"expected {API_VERSION}, found {described(version)}"
        problems.append(document.problem(("apiVersion",), message, ref))
    elif value.get("kind") == _LIST:
        found = described(value.get("items"))
        problems.append(document.problem(("items",), f"expected a list, found {found}"))
    elif kind is None:
        problems.append(document.problem(("kind",), _unknown_kind(value.get("kind"))))
    else:
        checked = validate(document, _CLASSES[kind], ref=ref)
        if isinstance(checked, list):
            problems.extend(checked)
        broken = islice(check(kind, value), MOST_PROBLEMS)
        problems.extend(document.problem(path, text, ref) for path, text in broken)
        if not problems and not isinstance(checked, list):
            assert ref is not None  # its name and namespace are labels by now
            packed = PackedDocument.of(document)
            return Manifest(ref, checked, document.file, _digest(value), packed)
    return sorted(dict.fromkeys(problems), key=place)


def _ref(kind: Kind, value: Mapping[str, JSON], default_namespace: str) -> ObjectRef | None:
    """The object that a document defines; None if its name is invalid."""
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace")
    namespace = default_namespace if namespace is None else namespace
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    if not isinstance(namespace, str) or not _NAME.fullmatch(namespace):
        return None
    return ObjectRef(kind, namespace, name)


def _unknown_kind(kind: JSON) -> str:
    near = _nearest_kind(str(kind)) if kind else ""
    return f"expected Model or Dataset, found {described(kind)}{near}"


def _nearest_kind(kind: str) -> str:
    return did_you_mean(kind.capitalize(), [*Kind, _LIST], cutoff=0.5)


def _digest(value: JSON) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
