"""Requirements of a source tree, and the name of their environment.

``requirements.txt`` wins over ``pyproject.toml``: a Dockerfile installs the former, pinned, where
both exist. Of a ``pyproject.toml`` with a ``[build-system]``, the project is installed besides its
dependencies; of one without, the dependencies; one without ``[project]`` only configures tools.

An environment is named by its content and shared by all trees with the same:

* The content has the lines of the requirements and the installer's settings in the tree; of a
  ``requirements.txt`` also the files that it includes (``-r``, ``-c``).
* Dynamic dependencies are those in the metadata of the project's wheel, which its own build backend
  makes. They are known once the wheel is built.
* Under uv, ``[tool.uv.sources]`` is among the settings.

It is the tree's own where the requirements name a package in the tree, as a path or a member of a
workspace, and where dependencies are dynamic and have sources of uv at once: uv alone could tell
what it would install.
"""

from __future__ import annotations

import email.parser
import enum
import hashlib
import json
import os
import re
import sys
import sysconfig
import tomllib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.engines.local.failures import RequirementsError

_LIMIT = 1 << 20
#: A requirement that means the same in any folder: a name, then versions, extras, markers, or
#: a direct reference that is not to a file.
_PLAIN = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\]\s*)?"
    r"($|;|[<>=!~(]|@\s*(https?|git\+https|git\+ssh)://)"
)
_PLAIN_OPTION = re.compile(
    r"(-i|--index-url|--extra-index-url|--no-index|--pre|--prefer-binary|--only-binary"
    r"|--no-binary|--require-hashes|--trusted-host)\b"
)
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
#: What reading a wheel raises that is no archive, or one of a form that is not read.
_DAMAGED_WHEEL = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
_ARCHIVE = re.compile(r"\.(whl|zip|tar\.gz|tgz|tar\.bz2)\b")


#: Another file of requirements or constraints.
_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s+|=|(?<=-[rc]))(\S+)")
#: The most files that are read for one tree.
_MOST_FILES = 50
#: A dependency of an extra, which is not asked for.
_OF_EXTRA = re.compile(r"^[^;]*;(?!.*\bor\b).*\bextra\s*==")


class Form(enum.Enum):
    """The means by which requirements are installed.

    FILE: the tree's ``requirements.txt``. LINES: the lines of ``text``. PROJECT: the dependencies
    in ``pyproject.toml``, as uv reads them with its sources. WHOLE: the project itself with all
    that it needs, in one environment.
    """

    FILE = enum.auto()
    LINES = enum.auto()
    PROJECT = enum.auto()
    WHOLE = enum.auto()


@dataclass(frozen=True, slots=True)
class Requirements:
    """The requirements of a tree.

    ``text`` is in requirements.txt's form; None of dynamic dependencies that are not computed yet,
    and of ``WHOLE``. ``local``: they name packages of the tree. ``project``: the tree is itself a
    package to install. ``settings`` are the installer's own in the tree, such as an index.
    ``included`` are the texts of other files of requirements, by path.
    """

    text: str | None
    local: bool
    form: Form
    project: bool = False
    settings: str = ""
    included: tuple[tuple[str, str], ...] = ()

    @property
    def layered(self) -> bool:
        """True if the project is installed above its dependencies' environment."""
        return self.project and self.form is not Form.WHOLE

    @property
    def computed(self) -> bool:
        """True if the build backend has to say what the dependencies are."""
        return self.text is None and self.form is not Form.WHOLE

    def resolved(self, wheel: Path) -> Requirements:
        """Return these with the dependencies of the project's wheel. Raises RequirementsError."""
        lines = [line for line in _dependencies(wheel) if not _OF_EXTRA.match(line)]
        if not all(map(_is_plain, lines)):  # a folder of the tree, by its place while it was built
            return replace(self, local=True, form=Form.WHOLE)
        return replace(self, text=_joined(lines))

    def environment(self, build_key: str) -> str:
        """Return the name of the environment, without a layered project."""
        content = {
            "version": 3,
            "requirements": self.text,
            "included": self.included,
            "settings": self.settings,
            "of": build_key if self.local else None,
            "python": [
                sys.implementation.cache_tag,
                sys.version.split()[0],
                sysconfig.get_platform(),
                os.path.realpath(sys.executable),
            ],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def requirements_of(tree: Path) -> Requirements | None:
    """Read a tree's requirements; None without any. Raises RequirementsError."""
    text = _read(tree / "requirements.txt")
    document = _document(tree / "pyproject.toml", wanted=text is None)
    uv = _mapping(_mapping(document, "tool"), "uv")
    settings = json.dumps(uv, sort_keys=True, default=str) if uv else ""
    settings += _read(tree / "uv.toml") or ""
    if text is not None:
        included = _included(tree, text)
        lines = [line for each in (text, *included.values()) for line in _lines(each or "")]
        plain = all(_is_plain(line) or _INCLUDE.fullmatch(line) for line in lines)
        known = len(included) < _MOST_FILES and None not in included.values()
        return Requirements(
            text,
            local=not (plain and known),
            form=Form.FILE,
            settings=settings,
            included=tuple(sorted((name, content or "") for name, content in included.items())),
        )
    project = document.get("project")
    if not isinstance(project, dict):
        return None
    installed = "build-system" in document
    sources = _mapping(uv, "sources")
    if "dependencies" in _list(project, "dynamic"):
        form = Form.WHOLE if sources else Form.LINES
        return Requirements(None, bool(sources), form, project=True, settings=settings)
    lines = [str(dependency) for dependency in _list(project, "dependencies")]
    local = not all(map(_is_plain, lines)) or any(map(_is_in_tree, sources.values()))
    form = Form.PROJECT if sources else Form.LINES
    if local and installed and sources:
        form = Form.WHOLE
    return Requirements(_joined(lines), local, form, project=installed, settings=settings)


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _is_in_tree(source: object) -> bool:
    """Return whether a source of uv may be in the tree."""
    alternatives = source if isinstance(source, list) else [source]
    known = {"git", "url", "index"}
    return not all(isinstance(each, dict) and known & each.keys() for each in alternatives)


def _dependencies(wheel: Path) -> Sequence[str]:
    """Read the dependencies in a wheel's metadata."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            [name] = [n for n in archive.namelist() if _METADATA.fullmatch(n)]
            with archive.open(name) as file:
                text = file.read(_LIMIT).decode("utf-8", "replace")
    except _DAMAGED_WHEEL as error:
        raise RequirementsError(f"{wheel.name} has no metadata: {error}") from error
    headers = email.parser.HeaderParser().parsestr(text)
    return [" ".join(line.split()) for line in headers.get_all("Requires-Dist", [])]


def _document(path: Path, *, wanted: bool) -> Mapping[str, Any]:
    """Read a pyproject.toml. Unless it is wanted, its faults are ignored."""
    try:
        return tomllib.loads(_read(path) or "")
    except (tomllib.TOMLDecodeError, RecursionError, RequirementsError) as error:
        if not wanted:
            return {}
        if isinstance(error, RequirementsError):
            raise
        why = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise RequirementsError(f"pyproject.toml: {why}") from error


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _list(project: Mapping[str, Any], name: str) -> list[Any]:
    found = project.get(name, [])
    if not isinstance(found, list):
        raise RequirementsError(f"pyproject.toml: project.{name} is not a list")
    return found


def _read(path: Path) -> str | None:
    """Read a file at a tree's root, never through a link out."""
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise RequirementsError(f"{path.name} is a link that leads out of the source")
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        raise RequirementsError(f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > _LIMIT:
        raise RequirementsError(f"{path.name} is larger than {_LIMIT} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequirementsError(f"{path.name} is not UTF-8: {error.reason}") from error


def _included(tree: Path, text: str) -> dict[str, str | None]:
    """Read the files that a tree's requirements.txt includes, by their paths.

    None: it is not a file of the tree that can be read here. At most ``_MOST_FILES``.
    """
    found: dict[str, str | None] = {}
    waiting = list(_includes("requirements.txt", text))
    while waiting and len(found) < _MOST_FILES:
        name = waiting.pop()
        if name in found:
            continue
        content = None
        path = Path(os.path.normpath(tree / name))
        if "\0" not in name and path.resolve().is_relative_to(tree.resolve()):
            with suppress(RequirementsError):
                content = _read(path)
        found[name] = content
        waiting += _includes(name, content or "")
    return found


def _includes(file: str, text: str) -> Iterator[str]:
    for line in _lines(text):
        if (include := _INCLUDE.fullmatch(line)) is not None:
            yield os.path.normpath(Path(file).parent / include[1])


def _lines(text: str) -> list[str]:
    joined = re.sub(r"\\\r?\n", " ", text)
    stripped = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in stripped if line]


def _is_plain(line: str) -> bool:
    if line.startswith("-"):
        return _PLAIN_OPTION.match(line) is not None
    if _PLAIN.match(line) is None:
        return False
    return "://" in line or _ARCHIVE.search(line) is None
