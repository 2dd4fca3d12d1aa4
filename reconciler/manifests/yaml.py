"""YAML documents as plain values whose places in the file are known.

libyaml splits the text into events; values are made from those here, by the core schema of
YAML 1.2, because the 1.1 rules of most readers turn ``no`` into false and ``010`` into 8. Every
node keeps its line and column, so that an error found much later can still point at it.

The text is untrusted: its size, depth, number of documents and number of nodes after aliases
have been expanded are bounded, and no tag can name anything but a plain value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.cyaml import CParser  # type: ignore[attr-defined] # not in its stubs
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from reconciler.types import JSON, Location, ObjectRef, Problem

LARGEST_FILE = 1 << 20
DEEPEST = 64
MOST_NODES = 100_000
MOST_DOCUMENTS = 1_000
LONGEST_NUMBER = 100
#: The slower parser reads about 100 KiB a second.
LARGEST_SLOW = 64 << 10

Path: TypeAlias = "tuple[str | int, ...]"
M = TypeVar("M", bound=BaseModel)

_STR = "tag:yaml.org,2002:str"
_PLAIN_TAGS = {None, "!", _STR, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCT = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(slots=True)
class Node:
    """A value and its place. A mapping's ``children`` are by key, with the place of the key."""

    line: int
    column: int
    value: Any = None
    children: dict[str, tuple[int, int, Node]] | None = None
    items: list[Node] | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its plain value, and where each part of it is."""

    file: str
    root: Node = field(repr=False)
    value: JSON = None

    def locate(self, path: Path) -> Location:
        """The place of a value; of one that is not there, that of the nearest thing around it."""
        node = self.root
        line, column = node.line, node.column
        for part in path:
            if node.children is not None and part in node.children:
                line, column, node = node.children[str(part)]
            elif node.items is not None and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
                line, column = node.line, node.column
            else:
                break
        return Location(self.file, line, column)

    def part(self, path: Path) -> Document:
        """A part of the document as a document of its own, at its own place."""
        node: Node = self.root
        value: Any = self.value
        for part in path:
            node = node.children[str(part)][2] if node.children is not None else _item(node, part)
            value = value[part]
        return Document(self.file, node, value)


def _item(node: Node, part: str | int) -> Node:
    assert node.items is not None
    return node.items[int(part)]


class _UnreadableError(Exception):
    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


def read_documents(data: bytes, file: str) -> tuple[list[Document], list[Problem]]:
    """Every document of a file, up to the first thing that cannot be read.

    What comes after a syntax error is not known, so one problem is all there is to say then.
    Empty documents are left out.
    """
    documents: list[Document] = []
    try:
        text = _text(data)
        if file.endswith(".json"):
            # JSON may be indented by tabs, YAML may not. A line break cannot be inside a string.
            text = re.sub(r"^[\t ]+", lambda match: " " * len(match[0]), text, flags=re.MULTILINE)
        for root in _compose(text):
            value = _construct(root)
            if value is not None:
                documents.append(Document(file, root, value))
    except _UnreadableError as error:
        place = Location(file, error.line, error.column)
        return documents, [Problem(place, "", error.message)]
    return documents, []


def _text(data: bytes) -> str:
    if len(data) > LARGEST_FILE:
        raise _UnreadableError(f"the file is larger than {LARGEST_FILE >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _UnreadableError("the file is not UTF-8 text", line, 1) from error


# -- events to nodes -----------------------------------------------------------------------


@dataclass(slots=True)
class _Open:
    """A collection that has begun; ``key`` is set between a key and its value."""

    node: Node
    anchor: str | None
    key: tuple[str, int, int] | None = None
    merges: list[Node] = field(default_factory=list)


class _Composer:
    """Makes the nodes of one document from its events."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node] = {}

    def feed(self, event: Any) -> None:
        if isinstance(event, ScalarEvent):
            self._add(_scalar(event), event.anchor, plain=bool(event.implicit[0]))
        elif isinstance(event, MappingStartEvent):
            self._begin(Node(*_place(event), children={}), event)
        elif isinstance(event, SequenceStartEvent):
            self._begin(Node(*_place(event), items=[]), event)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self._end(event)
        elif isinstance(event, AliasEvent):
            self._alias(event)

    def _begin(self, node: Node, event: Any) -> None:
        _check_tag(event)
        if len(self.stack) >= DEEPEST:
            raise _UnreadableError(f"values are nested deeper than {DEEPEST}", *_place(event))
        parent = self.stack[-1] if self.stack else None
        if parent is not None and parent.node.children is not None and parent.key is None:
            raise _UnreadableError("expected a string as key, found a collection", *_place(event))
        self.stack.append(_Open(node, event.anchor))

    def _end(self, event: Any) -> None:
        done = self.stack.pop()
        for merged in done.merges:
            _merge(done.node, merged, _place(event))
        self._add(done.node, done.anchor, plain=False)

    def _alias(self, event: Any) -> None:
        node = self.anchors.get(event.anchor)
        if node is None:
            said = "is used inside itself" if self._open(event.anchor) else "is not defined"
            raise _UnreadableError(f"the alias *{event.anchor} {said}", *_place(event))
        line, column = _place(event)
        copy = Node(line, column, node.value, node.children, node.items)
        self._add(copy, None, plain=False)

    def _open(self, anchor: str) -> bool:
        return any(collection.anchor == anchor for collection in self.stack)

    def _add(self, node: Node, anchor: str | None, *, plain: bool) -> None:
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if parent.node.items is not None:
            parent.node.items.append(node)
        elif parent.key is None:
            self._key(parent, node, plain=plain)
        else:
            self._value(parent, node)

    def _key(self, parent: _Open, node: Node, *, plain: bool) -> None:
        if not isinstance(node.value, str) or node.children is not None or node.items is not None:
            shown = "a collection" if node.children or node.items else f"{node.value!r:.40}"
            raise _UnreadableError(
                f"expected a string as key, found {shown}", node.line, node.column
            )
        # A quoted "<<" is a key like any other.
        quoted_merge = node.value == _MERGE and not plain
        parent.key = (f"\0{_MERGE}" if quoted_merge else node.value, node.line, node.column)

    def _value(self, parent: _Open, node: Node) -> None:
        assert parent.key is not None
        assert parent.node.children is not None
        key, line, column = parent.key
        parent.key = None
        if key == _MERGE:
            parent.merges.append(node)
            return
        key = key.removeprefix("\0")
        if key in parent.node.children:
            first = parent.node.children[key]
            message = f'the key "{key[:80]}" is there twice, first in line {first[0]}'
            raise _UnreadableError(message, line, column)
        parent.node.children[key] = (line, column, node)


_MERGE = "<<"


def _merge(target: Node, merged: Node, place: tuple[int, int]) -> None:
    """``<<``: the keys of another mapping, or of several, where they are not given already."""
    assert target.children is not None
    for source in merged.items if merged.items is not None else [merged]:
        if source.children is None:
            raise _UnreadableError("expected a mapping, or a list of mappings, after <<", *place)
        for key, child in source.children.items():
            target.children.setdefault(key, child)


def _compose(text: str) -> Iterator[Node]:
    read = 0
    try:
        for root in _documents(_fast_events(text)):
            read += 1
            yield root
    except _UnreadableError:
        if len(text) > LARGEST_SLOW:
            raise
    else:
        return
    # libyaml is stricter than YAML 1.2 in places (``{url: https://…}``): what it refuses gets a
    # second reading by the slower parser, which also has the better messages.
    yield from islice(_documents(YAML(typ="safe", pure=True).parse(text)), read, None)


def _documents(events: Iterator[Any]) -> Iterator[Node]:
    composer = _Composer()
    count = 0
    try:
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if composer.root is not None:
                    yield composer.root
                composer = _Composer()
                count += 1
                if count > MOST_DOCUMENTS:
                    message = f"the file has more than {MOST_DOCUMENTS} documents"
                    raise _UnreadableError(message, *_place(event))
            else:
                composer.feed(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, [error.context, error.problem])) or "not valid YAML"
        place = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        raise _UnreadableError(f"not valid YAML: {said}", *place) from error
    except YAMLError as error:
        raise _UnreadableError(f"not valid YAML: {str(error).splitlines()[0]}") from error
    if composer.root is not None:
        yield composer.root


def _fast_events(text: str) -> Iterator[Any]:
    parser = CParser(text)
    while parser.check_event():
        yield parser.get_event()


def _place(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _check_tag(event: Any) -> None:
    tag = getattr(event, "tag", None)
    if tag is not None and str(tag) not in _PLAIN_TAGS:
        raise _UnreadableError(f"the tag {str(tag)[:80]} is not allowed", *_place(event))


def _scalar(event: Any) -> Node:
    _check_tag(event)
    line, column = _place(event)
    text = event.value
    plain = event.implicit[0] and event.tag is None
    return Node(line, column, _resolve(text, line, column) if plain else text)


def _resolve(text: str, line: int, column: int) -> JSON:
    """A plain scalar by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in "+-.0123456789":
        return text
    number = any(p.fullmatch(text) for p in (_INT, _OCT, _HEX, _FLOAT))
    if number and len(text) > LONGEST_NUMBER:
        raise _UnreadableError(f"a number has more than {LONGEST_NUMBER} digits", line, column)
    if _INT.fullmatch(text):
        return int(text)
    if _OCT.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


# -- nodes to values -----------------------------------------------------------------------


def _construct(root: Node) -> JSON:
    """The plain value. Aliases are expanded, so the nodes are counted on the way."""
    budget = [MOST_NODES]

    def build(node: Node, depth: int) -> JSON:
        budget[0] -= 1
        if budget[0] < 0:
            message = f"the document has more than {MOST_NODES} values once aliases are expanded"
            raise _UnreadableError(message, root.line, root.column)
        if depth > DEEPEST:
            message = f"values are nested deeper than {DEEPEST} once aliases are expanded"
            raise _UnreadableError(message, node.line, node.column)
        if node.children is not None:
            return {key: build(child, depth + 1) for key, (_, _, child) in node.children.items()}
        if node.items is not None:
            return [build(item, depth + 1) for item in node.items]
        value: JSON = node.value
        return value

    return build(root, 0)


# -- validation ----------------------------------------------------------------------------


def validate(
    document: Document, model: type[M], *, ref: ObjectRef | None = None
) -> M | list[Problem]:
    """The document as an instance of a class, or everything that is wrong with it."""
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True, include_input=True)
    problems: dict[Problem, None] = {}
    for detail in details:
        path = _real_path(detail, document.value)
        problem = Problem(
            document.locate(path), shown_path(path), _message(detail, model), object=ref
        )
        problems[problem] = None
    return sorted(problems, key=lambda p: (p.location.line, p.location.column, p.field))


def shown_path(path: Path) -> str:
    """``spec.training.command[0]``."""
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown


def _real_path(detail: ErrorDetails, value: JSON) -> Path:
    """The error's path without the names of validators that pydantic puts among the fields."""
    path: list[str | int] = []
    current: Any = value
    last = len(detail["loc"]) - 1
    for number, part in enumerate(detail["loc"]):
        if _holds(current, part):
            current = current[part]
        elif not (number == last and detail["type"] == "missing"):
            continue
        path.append(part)
    return tuple(path)


def _holds(value: object, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
}


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    found = detail["input"]
    if kind == "extra_forbidden":
        return _unknown(detail, model)
    if kind == "missing":
        return "is required"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {described(found)}"
    if kind == "literal_error":
        choices = str(context.get("expected", "")).replace("'", '"')
        near = _near(found, re.findall(r'"([^"]*)"', choices))
        return f"expected {choices}, found {described(found)}{near}"
    if kind == "string_pattern_mismatch":
        return f"expected {_pattern(str(context.get('pattern')))}, found {described(found)}"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    said = detail["msg"][:1].lower() + detail["msg"][1:]
    return f"{said}, found {described(found)}"


_PATTERNS = {
    r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$": "a DNS-1123 label: at most 63 of a-z, 0-9 and -",
    r"^[0-9a-f]{40}$": "a key: 40 lower-case hex digits",
    r"^[^@\s]{1,512}@sha256:[0-9a-f]{64}$": "an image pinned by digest: registry/name@sha256:…",
    r"^[0-9a-f]{40}([0-9a-f]{24})?$": "a full commit id: 40 lower-case hex digits",
    r"^[a-z][a-z0-9+.-]*://\S+$": "a bucket URL such as s3://bucket/path",
}


def _pattern(pattern: str) -> str:
    return _PATTERNS.get(pattern, f"text that matches {pattern}")


def _unknown(detail: ErrorDetails, model: type[BaseModel]) -> str:
    *path, name = detail["loc"]
    known = _fields(model, path)
    return f'unknown field "{str(name)[:80]}"{_near(name, known)}'


def _fields(model: type[BaseModel], path: list[str | int]) -> list[str]:
    """The fields of the section at a path."""
    section: Any = model
    for part in path:
        fields = {(f.alias or name): f for name, f in section.model_fields.items()}
        if part not in fields:
            return []
        inner = [t for t in _types(fields[part].annotation) if issubclass(t, BaseModel)]
        if not inner:
            return []
        section = inner[0]
    return [f.alias or name for name, f in section.model_fields.items()]


def _types(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _types(inner)


def _near(found: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(found)[:80], known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def described(value: object) -> str:
    """A found value, in words and cut short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:60]}…"'
    return "a mapping" if isinstance(value, Mapping) else "a list"
