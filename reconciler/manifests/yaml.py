"""YAML files as documents, and documents as validated objects or problems.

Manifests and the daemon's configuration are read with the same code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from reconciler.manifests import messages
from reconciler.manifests.yaml_events import UnreadableError
from reconciler.manifests.yaml_nodes import (
    USUAL,
    Flaw,
    Node,
    Path,
    TextBounds,
    compose,
)
from reconciler.types import JSON, Location, ObjectRef, Problem

#: Bytes. A larger file is an error: a caller reads one byte more, so that the error is found. Of
#: the status file of another cluster, this is some 2,500 complete artifacts.
LARGEST_FILE = USUAL.size
#: Problems of one document that are listed; a file of 1 MiB can have 60,000.
MOST_PROBLEMS = 50

#: A byte order mark may begin any document, not only a file, as files are concatenated unchanged.
#: The parser would make it a part of the first key, so the document would be no manifest.
_MARK = re.compile(r"^\ufeff(?=---\s)|^(---[ \t]*\r?\n)\ufeff", re.MULTILINE)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its plain value, and the place of each part.

    ``flaws`` are errors of the text itself (a duplicate key, a tag). A value with flaws may not be
    the intended one, and is only used to find more problems.
    """

    file: str
    root: Node = field(repr=False)
    flaws: tuple[Flaw, ...] = ()

    @property
    def value(self) -> JSON:
        """The plain value. An aliased part is copied."""
        value: JSON = self.root.value
        return value

    def locate(self, path: Path) -> Location:
        """The place of a field, or of the nearest around it."""
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
        """Make a document of each item of a list, at its place."""
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

    def problem(self, path: Path, message: str, ref: ObjectRef | None = None) -> Problem:
        """Make a problem with a field."""
        return Problem(self.locate(path), shown_path(path), message, object=ref)

    def problems(self, ref: ObjectRef | None = None) -> list[Problem]:
        """The flaws, as problems."""
        return [
            Problem(Location(self.file, f.line, f.column), shown_path(f.path), f.message, ref)
            for f in self.flaws
        ]


def scan_documents(
    data: bytes, file: str, bounds: TextBounds = USUAL
) -> tuple[list[Document], Problem | None]:
    """Read the documents of a file, and the first syntax error.

    Text after a syntax error is not read. Empty documents are left out.
    """
    try:
        text = _text(data, bounds.size)
    except UnreadableError as error:
        return [], _unreadable(error, file)
    if file.endswith(".json"):
        # JSON may be indented by tabs, YAML may not. A line break cannot be inside a string.
        text = re.sub(r"^[\t ]+", lambda match: " " * len(match[0]), text, flags=re.MULTILINE)
    composed, failure = compose(text, bounds)
    documents = [
        Document(file, one.root, one.flaws)
        for one in composed
        if one.root.value is not None or one.flaws
    ]
    return documents, _unreadable(failure, file) if failure is not None else None


def read_documents(
    data: bytes, file: str, bounds: TextBounds = USUAL
) -> tuple[list[Document], list[Problem]]:
    """Read the documents of a file, and all problems of its text."""
    documents, failure = scan_documents(data, file, bounds)
    problems = [problem for document in documents for problem in document.problems()]
    return documents, [*problems, failure] if failure is not None else problems


def _text(data: bytes, largest: int) -> str:
    if len(data) > largest:
        raise UnreadableError(f"the file is larger than {largest >> 20} MiB")
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
    """Validate a document with a class. Returns an instance, or all problems."""
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True, include_input=True)
    found = [
        document.problem(_path(d, document.value), messages.message(d, model), ref)
        for d in details[:MOST_PROBLEMS]
    ]
    if len(details) > MOST_PROBLEMS:
        more = f"{len(details) - MOST_PROBLEMS} more errors are not listed"
        found.append(replace(max(found, key=place), field="", message=more))
    return sorted(dict.fromkeys(found), key=place)


def place(problem: Problem) -> tuple[str, int, int, str]:
    """The sort key of problems: file, line, column, field."""
    at = problem.location
    return at.file, at.line, at.column, problem.field


def shown_path(path: Path) -> str:
    """Render a path, such as ``spec.training.command[0]``."""
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part:.80}" if shown else part[:80]
    return shown


def _path(detail: ErrorDetails, value: Any) -> Path:
    """The path of an error, without the names of pydantic's validators."""
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
