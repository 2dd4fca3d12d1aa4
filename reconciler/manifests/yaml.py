"""YAML files as documents, and documents as instances of a class, or as located problems.

Manifests and the daemon's own configuration are read by the same rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reconciler.manifests.messages import message
from reconciler.manifests.yaml_nodes import Flaw, Node, Path, UnreadableError, compose
from reconciler.types import JSON, Location, ObjectRef, Problem

#: Bytes. A larger file is an error: a caller reads one byte more, so that the error is found. Of
#: the status file of another cluster, this is some 2,500 complete artifacts.
LARGEST_FILE = 1 << 20

#: A byte order mark may begin any document, not only a file: files are put together as they are.
#: The parser would make it a part of the first key, and the document one that is not ours.
_MARK = re.compile(r"^\ufeff(?=---\s)|^(---[ \t]*\r?\n)\ufeff", re.MULTILINE)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its plain value, and where each part of it is.

    ``flaws`` are what makes the text itself wrong (a key given twice, a tag): with any, the value
    is not what its author may think, and serves only to find out what else is wrong.
    """

    file: str
    root: Node = field(repr=False)
    flaws: tuple[Flaw, ...] = ()

    @property
    def value(self) -> JSON:
        """The plain value. A part that two anchors share is there twice."""
        value: JSON = self.root.value
        return value

    def locate(self, path: Path) -> Location:
        """The place of a field or item; of one that is not there, of the nearest around it."""
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

    def items(self, key: str) -> list[Document]:
        """The items of a list in it, each a document of its own at its own place."""
        assert self.root.children is not None
        nodes = self.root.children[key][2].items
        assert nodes is not None
        return [
            Document(
                self.file,
                node,
                tuple(
                    Flaw(flaw.path[2:], flaw.line, flaw.column, flaw.message)
                    for flaw in self.flaws
                    if flaw.path[:2] == (key, number)
                ),
            )
            for number, node in enumerate(nodes)
        ]

    def problem(self, path: Path, said: str, ref: ObjectRef | None = None) -> Problem:
        """Something wrong with a field."""
        return Problem(self.locate(path), shown_path(path), said, object=ref)

    def problems(self, ref: ObjectRef | None = None) -> list[Problem]:
        """The flaws, as problems."""
        return [
            Problem(Location(self.file, f.line, f.column), shown_path(f.path), f.message, ref)
            for f in self.flaws
        ]


def scan_documents(data: bytes, file: str) -> tuple[list[Document], Problem | None]:
    """Every document of a file, up to the first thing that cannot be read, and that thing.

    What comes after a syntax error is not known, so one problem is all there is to say then.
    Empty documents are left out.
    """
    try:
        text = _text(data)
    except UnreadableError as error:
        return [], _unreadable(error, file)
    if file.endswith(".json"):
        # JSON may be indented by tabs, YAML may not. A line break cannot be inside a string.
        text = re.sub(r"^[\t ]+", lambda match: " " * len(match[0]), text, flags=re.MULTILINE)
    composed, failure = compose(text)
    documents = [
        Document(file, one.root, one.flaws)
        for one in composed
        if one.root.value is not None or one.flaws
    ]
    return documents, _unreadable(failure, file) if failure is not None else None


def read_documents(data: bytes, file: str) -> tuple[list[Document], list[Problem]]:
    """Every document of a file, and everything that is wrong with its text."""
    documents, failure = scan_documents(data, file)
    problems = [problem for document in documents for problem in document.problems()]
    return documents, [*problems, failure] if failure is not None else problems


def _text(data: bytes) -> str:
    if len(data) > LARGEST_FILE:
        raise UnreadableError(f"the file is larger than {LARGEST_FILE >> 20} MiB")
    try:
        return _MARK.sub(r"\1", data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableError("the file is not UTF-8 text", line, 1) from error


def _unreadable(error: UnreadableError, file: str) -> Problem:
    return Problem(Location(file, error.line, error.column), "", error.message)


def validate(
    document: Document, model: type[M], *, ref: ObjectRef | None = None
) -> M | list[Problem]:
    """The document as an instance of a class, or everything that is wrong with its values."""
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True, include_input=True)
    found = (document.problem(_path(d, document.value), message(d, model), ref) for d in details)
    return sorted(dict.fromkeys(found), key=place)


def place(problem: Problem) -> tuple[str, int, int, str]:
    """What problems are sorted by."""
    at = problem.location
    return at.file, at.line, at.column, problem.field


def shown_path(path: Path) -> str:
    """``spec.training.command[0]``."""
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part:.80}" if shown else part[:80]
    return shown


def _path(detail: ErrorDetails, value: Any) -> Path:
    """The error's path without the names of validators that pydantic puts among the fields."""
    path: list[str | int] = []
    last = len(detail["loc"]) - 1
    for number, part in enumerate(detail["loc"]):
        if _holds(value, part):
            value = value[part]
        elif not (number == last and detail["type"] == "missing"):
            continue
        path.append(part)
    return tuple(path)


def _holds(value: object, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value
