"""YAML text as plain values with their places in the text.

libyaml splits the text into events; values are made from those here, by the core schema of
YAML 1.2, because the 1.1 rules of most readers turn ``no`` into false and ``010`` into 8. Every
node keeps its line and column, so that an error found much later can still point at it.

The text is untrusted: its depth, its documents and its values, counted as they are after aliases
have been expanded, are bounded, and no tag can name anything but a plain value. A node knows its
expanded size, so an alias that would go too far is refused before anything is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from reconciler.manifests.yaml_events import (
    RejectedTextError,
    UnreadableError,
    fast_events,
    slow_events,
)
from reconciler.manifests.yaml_scalars import FIRST_RESOLVED, resolve_scalar
from reconciler.types import JSON

DEEPEST = 64
MOST_NODES = 100_000
MOST_DOCUMENTS = 1_000
#: Characters of the values that aliases and merges of a file stand for, counted at each use.
LARGEST_EXPANDED = 4 << 20
#: Errors of the text that are listed for one document.
MOST_FLAWS = 50
#: The slower parser reads about 100 KiB a second.
LARGEST_SLOW = 64 << 10


@dataclass(frozen=True, slots=True)
class TextBounds:
    """Bounds of one file: values, levels, and bytes."""

    nodes: int = MOST_NODES
    deepest: int = DEEPEST
    size: int = 1 << 20


#: Of a file of untrusted authors.
USUAL = TextBounds()

Path: TypeAlias = "tuple[str | int, ...]"


@dataclass(slots=True)
class Node:
    """A value and its place in the text.

    A mapping's ``children`` are by key, with the line and column of the key.
    ``size`` counts the values within, itself included; ``height`` the levels below it.
    """

    line: int
    column: int
    value: Any
    children: dict[str, tuple[int, int, Node]] | None = None
    items: list[Node] | None = None
    size: int = 1
    height: int = 0


@dataclass(frozen=True, slots=True)
class Flaw:
    """An error in one document whose text can be parsed."""

    path: Path
    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True)
class Composed:
    """The root of one document, and its flaws."""

    root: Node
    flaws: tuple[Flaw, ...] = ()


def compose(text: str, bounds: TextBounds = USUAL) -> tuple[list[Composed], UnreadableError | None]:
    """Compose the documents of a text up to its first syntax error."""
    documents, failure = _compose(fast_events(text), bounds)
    # libyaml is stricter than YAML 1.2 in places (``{url: https://…}``): text that it rejects is
    # parsed again by the slower parser, which also has better messages.
    if isinstance(failure, RejectedTextError) and len(text) <= LARGEST_SLOW:
        return _compose(slow_events(text), bounds)
    return documents, failure


def _compose(
    events: Iterator[Any], bounds: TextBounds
) -> tuple[list[Composed], UnreadableError | None]:
    composer = _Composer(bounds)
    handler_of = composer.handlers.get
    try:
        for event in events:
            handler = handler_of(type(event))
            if handler is not None:
                handler(event)
    except UnreadableError as error:
        return composer.documents, error
    return composer.documents, None


@dataclass(slots=True)
class _Open:
    """An incomplete collection; ``key`` is set between a key and its value."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_place: tuple[int, int] = (0, 0)
    merging: bool = False
    merges: list[Node] = field(default_factory=list)


class _Composer:
    """Composes nodes from the events of a text, and counts its values.

    A plan of 10,000 objects has 1,500,000 events: what each takes is most of the plan.
    """

    def __init__(self, bounds: TextBounds) -> None:
        self._bounds = bounds
        self.documents: list[Composed] = []
        self._nodes = 0
        self._expanded = 0
        self._begun = 0
        self._root: Node | None = None
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}  # None: begun, and not complete yet
        self._flaws: list[Flaw] = []
        self.handlers: Mapping[type, Callable[[Any], None]] = {
            ScalarEvent: self._scalar,
            MappingStartEvent: lambda e: self._begin(Node(*_place(e), {}, children={}), e),
            MappingEndEvent: self._end,
            SequenceStartEvent: lambda e: self._begin(Node(*_place(e), [], items=[]), e),
            SequenceEndEvent: self._end,
            AliasEvent: self._alias,
            DocumentStartEvent: self._begin_document,
            DocumentEndEvent: self._end_document,
        }

    def _begin_document(self, event: Any) -> None:
        self._begun += 1
        if self._begun > MOST_DOCUMENTS:
            message = f"the file has more than {MOST_DOCUMENTS} documents"
            raise UnreadableError(message, *_place(event))

    def _end_document(self, event: Any) -> None:
        assert self._root is not None
        self.documents.append(Composed(self._root, tuple(self._flaws)))
        self._root, self._anchors, self._flaws = None, {}, []

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        text = event.value
        plain, quoted = event.implicit
        if not plain and not quoted:
            self._check_tag(event)
        if not text.isascii():
            text = self._clean(text, line, column)
        value: JSON = text
        if plain and text[:1] in FIRST_RESOLVED:
            try:
                value = resolve_scalar(text)
            except ValueError as error:
                self._flaw(line, column, str(error))
        anchor = event.anchor
        parent = self._stack[-1] if self._stack else None
        if parent is not None and parent.key is None and parent.node.items is None:
            if anchor is not None:
                self._anchors[anchor] = Node(line, column, value)
            self._key(parent, value, line, column)
            parent.merging = plain and text == "<<"  # a quoted one is a key like any other
            return
        node = Node(line, column, value)
        if anchor is not None:
            self._anchors[anchor] = node
        self._count(1, line, column)
        self._add(node)

    def _begin(self, node: Node, event: Any) -> None:
        if not event.implicit:
            self._check_tag(event)
        deepest = self._bounds.deepest
        if len(self._stack) >= deepest:
            message = f"values are nested deeper than {deepest}"
            raise UnreadableError(message, node.line, node.column)
        self._count(1, node.line, node.column)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(node, event.anchor))

    def _end(self, event: Any) -> None:
        done = self._stack.pop()
        for merged in done.merges:
            self._merge(done.node, merged)
        if done.anchor is not None:
            self._anchors[done.anchor] = done.node
        self._add(done.node)

    def _alias(self, event: Any) -> None:
        line, column = _place(event)
        target = self._anchors.get(event.anchor)
        if target is None:
            inside = event.anchor in self._anchors
            reason = "is used inside itself" if inside else "is not defined"
            self._flaw(line, column, f"the alias *{event.anchor:.80} {reason}")
            target = Node(line, column, None)
        deepest = self._bounds.deepest
        if len(self._stack) + target.height > deepest:
            message = f"values are nested deeper than {deepest} once aliases are expanded"
            raise UnreadableError(message, line, column)
        self._count(target.size, line, column)
        self._expand(target, line, column)
        # A copy, so that a change of one value does not change the other.
        value = _copy(target.value)
        children, items, size, height = target.children, target.items, target.size, target.height
        self._add(Node(line, column, value, children, items, size, height))

    def _add(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        owner = parent.node
        if owner.items is not None:
            owner.items.append(node)
            owner.value.append(node.value)
        elif parent.key is None:
            self._key(parent, node.value, node.line, node.column)
            return
        elif parent.merging:
            parent.merges.append(node)
            parent.key = None
            return
        else:
            assert owner.children is not None
            key, (line, column) = parent.key, parent.key_place
            if key in owner.children:
                first = owner.children[key][0]
                message = f'the key "{key:.80}" is given twice, first in line {first}'
                self._flaw(line, column, message)
                parent.key = None
                return
            parent.key = None
            owner.children[key] = (line, column, node)
            owner.value[key] = node.value
        owner.size += node.size
        if node.height >= owner.height:
            owner.height = node.height + 1

    def _key(self, parent: _Open, key: JSON, line: int, column: int) -> None:
        if not isinstance(key, str):
            self._flaw(line, column, f"expected a string as key, found {_shown(key)}")
            key = f"{key!s:.80}"
        parent.key, parent.key_place, parent.merging = key, (line, column), False

    def _merge(self, target: Node, merged: Node) -> None:
        """Merge the mappings after ``<<``; keys that the target has stay."""
        assert target.children is not None
        for source in merged.items if merged.items is not None else [merged]:
            if source.children is None:
                found = _shown(source.value)
                message = f"expected a mapping or a list of mappings after <<, found {found}"
                self._flaw(source.line, source.column, message)
                continue
            for key, child in source.children.items():
                self._count(1, merged.line, merged.column)
                if key not in target.children:
                    node = child[2]
                    self._count(node.size, merged.line, merged.column)
                    self._expand(node, merged.line, merged.column)
                    target.children[key] = child
                    target.value[key] = _copy(node.value)
                    target.size += node.size
                    target.height = max(target.height, node.height + 1)

    def _clean(self, text: str, line: int, column: int) -> str:
        try:
            # JSON writes a character beyond U+FFFF as two escapes, its UTF-16 surrogates.
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._flaw(line, column, "half of a surrogate pair is no character")
            return text.encode("utf-8", "replace").decode()

    def _check_tag(self, event: Any) -> None:
        tag = str(event.tag)
        if event.tag is not None and tag not in _PLAIN_TAGS:
            shown = tag.replace(_YAML_TAG, "!!", 1)
            self._flaw(*_place(event), f"the tag {shown:.80} is not allowed")

    def _count(self, more: int, line: int, column: int) -> None:
        self._nodes += more
        most = self._bounds.nodes
        if self._nodes > most:
            message = f"the file has more than {most} values once aliases are expanded"
            raise UnreadableError(message, line, column)

    def _expand(self, node: Node, line: int, column: int) -> None:
        self._expanded += _characters(node)
        if self._expanded > LARGEST_EXPANDED:
            message = (
                f"the file has more than {LARGEST_EXPANDED >> 20} MiB once aliases are expanded"
            )
            raise UnreadableError(message, line, column)

    def _flaw(self, line: int, column: int, message: str) -> None:
        if len(self._flaws) >= MOST_FLAWS:
            return
        path: list[str | int] = []
        for collection in self._stack:
            if collection.node.items is not None:
                path.append(len(collection.node.items))
            elif collection.key is not None:
                path.append(collection.key)
        self._flaws.append(Flaw(tuple(path), line, column, message))


_YAML_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {"!", f"{_YAML_TAG}str", f"{_YAML_TAG}map", f"{_YAML_TAG}seq"}


def _place(event: Any) -> tuple[int, int]:
    mark = event.start_mark
    return mark.line + 1, mark.column + 1


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copy(inner) for inner in value]
    return value


def _characters(node: Node) -> int:
    """The length of all scalars and keys of a value."""
    if node.children is not None:
        return sum(len(key) + _characters(child[2]) for key, child in node.children.items())
    if node.items is not None:
        return sum(map(_characters, node.items))
    return len(node.value) if isinstance(node.value, str) else 1


def _shown(value: JSON) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else f'"{value!s:.40}"'
