"""Documents packed into one text each.

A daemon keeps the places of every field of every manifest, for errors and plans that name few of
them. As nodes they take 7 KB a manifest, packed 0.8 KB.
"""

from __future__ import annotations

import json
from typing import Any, Self

from reconciler.manifests.yaml import Document
from reconciler.manifests.yaml_nodes import Node, Path
from reconciler.types import Location

#: Values of a document that is packed; an alias counts as what it stands for.
MOST_PACKED = 10_000


class PackedDocument:
    """A document without flaws, unpacked at each use.

    One that is too large stays as it is.
    """

    __slots__ = ("_column", "_file", "_kept", "_line")

    def __init__(self, file: str, root: Node, kept: str | Node) -> None:
        self._file = file
        self._kept = kept
        self._line, self._column = root.line, root.column

    @classmethod
    def of(cls, document: Document) -> Self:
        """Pack a document."""
        root = document.root
        if root.size > MOST_PACKED:
            return cls(document.file, root, root)
        return cls(document.file, root, json.dumps(_packed(root), separators=(",", ":")))

    def document(self) -> Document:
        """Return the document."""
        kept = self._kept
        return Document(self._file, kept if isinstance(kept, Node) else _unpacked(json.loads(kept)))

    def locate(self, path: Path) -> Location:
        """The place of a field, or of the nearest around it."""
        if not path:  # a plan asks for that of every object
            return Location(self._file, self._line, self._column)
        return self.document().locate(path)


def _packed(node: Node) -> list[Any]:
    """Return line, column and value, or parts and 1."""
    if node.children is not None:
        parts = {k: [line, column, _packed(n)] for k, (line, column, n) in node.children.items()}
        return [node.line, node.column, parts, 1]
    if node.items is not None:
        return [node.line, node.column, [_packed(item) for item in node.items], 1]
    return [node.line, node.column, node.value]


def _unpacked(parts: list[Any]) -> Node:
    line, column, value, *nested = parts
    if not nested:
        return Node(line, column, value)
    if isinstance(value, dict):
        children = {k: (at, after, _unpacked(n)) for k, (at, after, n) in value.items()}
        whole = {k: n.value for k, (_, _, n) in children.items()}
        return Node(line, column, whole, children=children)
    items = [_unpacked(item) for item in value]
    return Node(line, column, [item.value for item in items], items=items)
