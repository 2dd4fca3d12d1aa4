"""A file becomes manifests, or errors that say where. Pure, so callers cache it by blob id."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import rfc8785

from reconciler.manifests.contract import env_name, is_reserved
from reconciler.manifests.schema import (
    CommandSection,
    DatasetManifest,
    ManifestDocument,
    Metadata,
    ModelManifest,
    RunSection,
)
from reconciler.manifests.yaml import (
    Document,
    Path,
    described,
    read_documents,
    shown_path,
    validate,
)
from reconciler.types import API_VERSION, GROUP, JSON, Kind, Location, ObjectRef, Problem

LARGEST_PARAMS = 64 << 10
LARGEST_INTEGER = 2**53
_CLASSES: Mapping[str, type[ModelManifest | DatasetManifest]] = {
    Kind.MODEL.value: ModelManifest,
    Kind.DATASET.value: DatasetManifest,
}
_LIST = "List"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest. ``digest`` is of its parsed document: comments do not change it."""

    ref: ObjectRef
    document: ManifestDocument
    file: str
    digest: str
    source: Document = field(repr=False, compare=False)

    def locate(self, path: Path) -> Location:
        """Where a field is, or the nearest thing around where it would be."""
        return self.source.locate(path)

    def problem(self, path: Path, message: str) -> Problem:
        """Something wrong with a field of it."""
        return Problem(self.locate(path), shown_path(path), message, object=self.ref)


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file holds. ``others`` counts documents that are not ours.

    ``broken``: it could not be read to its end, so what it held before must not be given up.
    """

    path: str
    manifests: tuple[Manifest, ...] = ()
    problems: tuple[Problem, ...] = ()
    others: int = 0
    broken: bool = False


def read_file(path: str, data: bytes, *, default_namespace: str = "default") -> FileContent:
    """Read every manifest of a file, and say everything that is wrong with any."""
    documents, broken = read_documents(data, path)
    manifests: list[Manifest] = []
    problems: list[Problem] = list(broken)
    others = 0
    for document in documents:
        for item in _items(document):
            if not _is_ours(item.value):
                others += 1
                continue
            found = _read(item, default_namespace)
            if isinstance(found, Manifest):
                manifests.append(found)
            else:
                problems.extend(found)
    return FileContent(path, tuple(manifests), tuple(problems), others, bool(broken))


def _items(document: Document) -> Iterator[Document]:
    """The document, or the items of a ``kind: List``, each of which is one."""
    value = document.value
    if isinstance(value, dict) and value.get("kind") == _LIST:
        version, items = value.get("apiVersion", "v1"), value.get("items")
        if version in ("v1", API_VERSION) and isinstance(items, list):
            for number in range(len(items)):
                yield document.part(("items", number))
            return
    yield document


def _is_ours(value: JSON) -> bool:
    if not isinstance(value, dict):
        return False
    version = value.get("apiVersion")
    if version is None:
        return "kind" in value
    return isinstance(version, str) and version.startswith(f"{GROUP}/")


def _read(document: Document, default_namespace: str) -> Manifest | list[Problem]:
    value = document.value
    assert isinstance(value, dict)
    kind = value.get("kind")
    model = _CLASSES.get(kind) if isinstance(kind, str) else None
    if model is None:
        path: Path = ("kind",)
        return [Problem(document.locate(path), "kind", _unknown_kind(kind))]
    ref = _ref(value, default_namespace)
    if value.get("apiVersion", API_VERSION) != API_VERSION:
        message = f"expected {API_VERSION}, found {described(value['apiVersion'])}"
        return [Problem(document.locate(("apiVersion",)), "apiVersion", message, object=ref)]
    checked = validate(document, model, ref=ref)
    if isinstance(checked, list):
        return checked
    assert ref is not None  # its name is a DNS-1123 label by now
    problems = [
        Problem(document.locate(path), shown_path(path), message, object=ref)
        for path, message in _check(checked)
    ]
    if problems:
        return problems
    digest = hashlib.sha256(rfc8785.dumps(value)).hexdigest()
    return Manifest(ref, checked, document.file, digest, document)


def _ref(value: Mapping[str, JSON], default_namespace: str) -> ObjectRef | None:
    """The object that a document is about, as far as that can be read."""
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not _LABEL.fullmatch(name):
        return None
    namespace = metadata.get("namespace", default_namespace)
    if not isinstance(namespace, str) or not _LABEL.fullmatch(namespace):
        return None
    return ObjectRef(Kind(str(value["kind"])), namespace, name)


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _unknown_kind(kind: JSON) -> str:
    near = difflib.get_close_matches(str(kind).capitalize(), [*_CLASSES, _LIST], n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"expected Model or Dataset, found {described(kind)}{hint}"


# -- what a schema cannot say --------------------------------------------------------------

_Finding = tuple[Path, str]

_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_QUALIFIED = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_FORMERLY = re.compile(rf"(({_LABEL.pattern}/)?{_LABEL.pattern}/)?{_LABEL.pattern}")


def _check(document: ManifestDocument) -> Iterator[_Finding]:
    yield from _check_metadata(document.metadata)
    spec = document.spec
    sections: dict[str, RunSection | None] = {"build": spec.build, "load": spec.load}
    if isinstance(document, ModelManifest):
        sections["training"] = document.spec.training
    for name, section in sections.items():
        path: Path = ("spec", name)
        if isinstance(section, CommandSection):
            yield from _check_env(section, path)
            yield from _check_params(section.params, (*path, "params"))
        if name != "training" and section is not None and section.resources.nodes > 1:
            yield (*path, "resources", "nodes"), "only a training can have more than one node"
    yield from _check_load(document)


def _check_metadata(metadata: Metadata) -> Iterator[_Finding]:
    for field_name, pairs in (("labels", metadata.labels), ("annotations", metadata.annotations)):
        for key, value in pairs.items():
            path: Path = ("metadata", field_name, key)
            if not _QUALIFIED.fullmatch(key):
                yield path, f'"{key[:80]}" is no name that Kubernetes allows for {field_name}'
            if field_name == "labels" and not _LABEL_VALUE.fullmatch(value):
                yield (
                    path,
                    f"expected a label value of at most 63 characters, found {described(value)}",
                )
    formerly = metadata.annotations.get(f"{GROUP}/formerly")
    if formerly is not None and not _FORMERLY.fullmatch(formerly):
        path = ("metadata", "annotations", f"{GROUP}/formerly")
        yield path, f"expected [[<cluster>/]<namespace>/]<name>, found {described(formerly)}"
    prune = metadata.annotations.get(f"{GROUP}/prune")
    if prune not in (None, "true", "false"):
        path = ("metadata", "annotations", f"{GROUP}/prune")
        yield path, f'expected "true" or "false", found {described(prune)}'


def _check_env(section: CommandSection, path: Path) -> Iterator[_Finding]:
    for field_name, names in (("env", section.env), ("secretEnv", section.secret_env)):
        for name in names:
            where: Path = (*path, field_name, name)
            if not _ENV.fullmatch(name):
                yield where, f'"{name[:80]}" is no name for an environment variable'
            elif is_reserved(name):
                yield where, f"{name} is set by the reconciler, so it cannot be set here"
            elif field_name == "secretEnv" and name in section.env:
                yield where, f"{name} is in env as well"


def _check_params(params: Mapping[str, JSON], path: Path) -> Iterator[_Finding]:
    variables: dict[str, str] = {}
    for name, value in params.items():
        if isinstance(value, (dict, list)):
            continue
        other = variables.setdefault(env_name(name), name)
        if other != name:
            yield (*path, name), f'"{name}" and "{other}" would both be {env_name(name)}'
    bad = list(_bad_numbers(dict(params), path))
    yield from bad
    if not bad and len(rfc8785.dumps(dict(params))) > LARGEST_PARAMS:
        yield path, f"params are larger than {LARGEST_PARAMS >> 10} KiB"


def _bad_numbers(value: JSON, path: Path) -> Iterator[_Finding]:
    """Numbers that do not survive JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _bad_numbers(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _bad_numbers(inner, (*path, number))
    elif isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):  # noqa: PLR0124 -- NaN
        yield path, "NaN and infinities are not allowed in params"
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        yield path, "an integer beyond ±2^53 is not exact in JSON; write it as a string"


def _check_load(document: ManifestDocument) -> Iterator[_Finding]:
    spec = document.spec
    load = spec.load
    promotes = (
        isinstance(document, ModelManifest)
        and document.spec.source.model is not None
        and document.spec.training is None
    )
    if not load.command and not promotes:
        yield (
            ("spec", "load", "command"),
            "only a Model with source.model and no training may leave it empty: to take over",
        )
    if load.from_ is not None:
        if isinstance(document, ModelManifest) and document.spec.source.model is not None:
            yield ("spec", "load", "from"), "cannot be used with source.model, which brings weights"
        elif isinstance(document, DatasetManifest) and document.spec.source.bucket is not None:
            yield ("spec", "load", "from"), "cannot be used with source.bucket, which brings data"
