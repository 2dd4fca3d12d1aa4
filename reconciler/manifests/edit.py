"""Setting of a field in a manifest's text, all else unchanged. Pure.

A YAML library that loads and dumps the text would reflow lines and move comments, which makes
large diffs. So the text is changed at the place that the reader has recorded, and the result is
read again: if anything but the field differs, the text cannot be edited this way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from reconciler.errors import ReconcilerError
from reconciler.manifests.fields import Section
from reconciler.manifests.loader import FileContent, Manifest, read_file
from reconciler.manifests.schema import ManifestDocument
from reconciler.manifests.yaml_nodes import Node
from reconciler.types import ObjectRef

#: A scalar of one line: in double quotes, in single quotes, or plain and without spaces.
_SCALAR = re.compile(
    r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\n]|'')*'|[^\s,{}\[\]#&*!|>'\"%@`][^\s,{}\[\]#]*"
)


S = TypeVar("S", bound=Section)


class CannotEditError(ReconcilerError):
    """A field cannot be set without changing more than it."""


@dataclass(frozen=True, slots=True)
class _Insertion:
    """Text to be put in place of ``text[start:end]``."""

    start: int
    end: int
    text: str


def annotate(text: str, *, file: str, ref: ObjectRef, name: str, value: str) -> str:
    """Set an annotation in the text of a file. Raises CannotEditError."""
    before, manifest = _read(text, file, ref)
    wanted = manifest.document.model_copy(deep=True)
    wanted.metadata.annotations[name] = value
    by_hand = f"set the annotation {name}: {json.dumps(value)}"
    return _edited(
        before, text, manifest, wanted, _annotations(text, manifest, name, value), by_hand
    )


def set_suspend(text: str, *, file: str, ref: ObjectRef, suspend: bool) -> str:
    """Set ``spec.suspend`` in the text of a file. Raises CannotEditError."""
    before, manifest = _read(text, file, ref)
    document = manifest.document
    spec = document.spec.model_copy(update={"suspend": suspend})
    wanted = document.model_copy(update={"spec": spec})
    value = json.dumps(suspend)
    edits: list[_Insertion] = []
    offset, section = _Offsets(text), _child(manifest.source.root, "spec")
    known = _child(section, "suspend")
    if known is not None:
        scalar = _SCALAR.match(text, offset.of(known))
        if scalar is not None:
            edits.append(_Insertion(scalar.start(), scalar.end(), value))
    elif section is not None:
        key = '"suspend"' if file.endswith(".json") else "suspend"
        edits += _into(text, offset, section, f"{key}: {value}")
    return _edited(before, text, manifest, wanted, edits, f"set spec.suspend: {value}")


def replace_value(
    text: str, *, file: str, ref: ObjectRef, field: tuple[str, ...], value: str
) -> str:
    """Replace the text at a field that is there. Raises CannotEditError."""
    before, manifest = _read(text, file, ref)
    dotted, node = ".".join(field), manifest.source.root
    for name in field:
        found = _child(node, name)
        if found is None:
            raise CannotEditError(f"{ref} has no {dotted} in {file}")
        node = found
    scalar = _SCALAR.match(text, _Offsets(text).of(node))
    edits = []
    if scalar is not None:
        edits.append(_Insertion(scalar.start(), scalar.end(), json.dumps(value)))
    wanted = _with_value(manifest.document, field, value)
    return _edited(before, text, manifest, wanted, edits, f"set {dotted}: {json.dumps(value)}")


def _with_value(section: S, field: tuple[str, ...], value: str) -> S:
    """Return a copy with another value at a field."""
    name, *inner = field
    found = _with_value(getattr(section, name), tuple(inner), value) if inner else value
    return section.model_copy(update={name: found})


def _read(text: str, file: str, ref: ObjectRef) -> tuple[FileContent, Manifest]:
    """Read a file and a manifest in it. Raises CannotEditError."""
    content = read_file(file, text.encode(), default_namespace=ref.namespace)
    manifest = next((m for m in content.manifests if m.ref == ref), None)
    if manifest is None:
        raise CannotEditError(f"{file} holds no valid manifest of {ref}")
    return content, manifest


def _edited(
    before: FileContent,
    text: str,
    manifest: Manifest,
    wanted: ManifestDocument,
    edits: Iterable[_Insertion],
    by_hand: str,
) -> str:
    """Return the text after the first edit that works. Raises CannotEditError."""
    for edit in edits:
        changed = text[: edit.start] + edit.text + text[edit.end :]
        if _differs_only_in(before, changed, manifest, wanted):
            return changed
    raise CannotEditError(
        f"{manifest.file} is written in a way that keeps it from being edited by itself (an anchor "
        f"that several objects share, perhaps); {by_hand} by hand"
    )


def _annotations(text: str, manifest: Manifest, name: str, value: str) -> list[_Insertion]:
    """Possible insertions, the simplest first; :func:`_edited` finds the one that works."""
    edits: list[_Insertion] = []
    offset = _Offsets(text)
    flow_only = manifest.file.endswith(".json")
    key = json.dumps(name) if flow_only else name
    pair = f"{key}: {json.dumps(value)}"
    whole = f'"annotations": {{{pair}}}' if flow_only else f"annotations: {{{pair}}}"
    metadata = _child(manifest.source.root, "metadata")
    annotations = _child(metadata, "annotations")
    known = _child(annotations, name)
    if known is not None:
        start = offset.of(known)
        scalar = _SCALAR.match(text, start)
        if scalar is not None:
            edits.append(_Insertion(start, scalar.end(), json.dumps(value)))
        return edits
    if annotations is not None:
        edits += _into(text, offset, annotations, pair)
    elif metadata is not None:
        own = _child(metadata, "name")
        assert own is not None  # a manifest has a name
        scalar = _SCALAR.match(text, offset.of(own))
        if scalar is not None:
            indent = _indent(metadata)
            line_end = text.find("\n", scalar.end())
            line_end = len(text) if line_end < 0 else line_end
            line_end -= text[:line_end].endswith("\r")
            edits.append(_Insertion(scalar.end(), scalar.end(), f", {whole}"))
            if not flow_only:
                line = f"{_newline(text, scalar.end())}{indent}{whole}"
                edits.append(_Insertion(line_end, line_end, line))
    return edits


def _into(text: str, offset: _Offsets, mapping: Node, pair: str) -> list[_Insertion]:
    """Insert into a mapping: between its braces, or as first line."""
    start = offset.of(mapping)
    if text.startswith("{", start):
        comma = ", " if mapping.children else ""
        return [_Insertion(start + 1, start + 1, f"{pair}{comma}")]
    return [_Insertion(start, start, f"{pair}{_newline(text, start)}{_indent(mapping)}")]


def _newline(text: str, at: int) -> str:
    """Return the end of the line at an offset.

    A last line may have none: then it is that of the first.
    """
    end = text.find("\n", at)
    end = text.find("\n") if end < 0 else end
    return "\r\n" if text.endswith("\r", 0, max(end, 0)) else "\n"


def _child(node: Node | None, name: str) -> Node | None:
    if node is None or node.children is None or name not in node.children:
        return None
    return node.children[name][2]


def _indent(mapping: Node) -> str:
    """The indentation of a block mapping's keys, as spaces."""
    assert mapping.children is not None
    return " " * (min(column for _, column, _ in mapping.children.values()) - 1)


class _Offsets:
    """Offsets of the lines of a text."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]

    def of(self, node: Node) -> int:
        return self._starts[node.line - 1] + node.column - 1


def _differs_only_in(
    before: FileContent, text: str, manifest: Manifest, wanted: ManifestDocument
) -> bool:
    """Return whether the text differs from before only in the wanted manifest.

    Other documents may be wrong, as they were; their lines may have moved.
    """
    after = read_file(manifest.file, text.encode(), default_namespace=manifest.ref.namespace)
    if _problems(after) != _problems(before) or len(after.manifests) != len(before.manifests):
        return False
    for old, new in zip(before.manifests, after.manifests, strict=True):
        if old.ref != manifest.ref:
            if old.digest != new.digest or old.ref != new.ref:
                return False
            continue
        if new.document != wanted:
            return False
    return True


def _problems(content: FileContent) -> list[tuple[ObjectRef | None, str, str]]:
    return [(found.object, found.field, found.message) for found in content.problems]
