"""Requirements of a source tree, and the name of their environment.

``requirements.txt`` wins over ``pyproject.toml``: a Dockerfile installs the former, pinned, where
both exist. Of a ``pyproject.toml`` with a ``[build-system]``, the project is installed besides its
dependencies; of one without, the dependencies; one without ``[project]`` only configures tools.

An environment is named by its content and shared by all trees with the same. Where the
requirements name files of the tree, or only its build backend knows them, it is the tree's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.engines.local.failures import RequirementsError

_LIMIT = 1 << 20
#: A requirement that means the same in any folder: a name, then versions, extras, markers, or
#: a direct reference that is not to a file.
_PLAIN = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*"
    r"($|;|[<>=!~(]|@\s*(https?|git\+https|git\+ssh)://)"
)
_PLAIN_OPTION = re.compile(
    r"(-i|--index-url|--extra-index-url|--no-index|--pre|--prefer-binary|--only-binary"
    r"|--no-binary|--require-hashes|--trusted-host)\b"
)
_ARCHIVE = re.compile(r"\.(whl|zip|tar\.gz|tgz|tar\.bz2)\b")


@dataclass(frozen=True, slots=True)
class Requirements:
    """The requirements of a tree.

    ``text`` is in requirements.txt's form; None: those that the project's build backend finds.
    ``local``: they name files of the tree. ``project``: the tree is itself a package to install.
    ``settings`` are the installer's own in the tree, such as an index.
    """

    text: str | None
    local: bool
    project: bool = False
    settings: str = ""

    @property
    def layered(self) -> bool:
        """True if the project is installed above its dependencies' environment."""
        return self.project and self.text is not None

    def environment(self, build_key: str) -> str:
        """Return the name of the environment, without a layered project."""
        content = {
            "version": 2,
            "requirements": self.text,
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
        return Requirements(text, not all(map(_is_plain, _lines(text))), settings=settings)
    project = document.get("project")
    if not isinstance(project, dict):
        return None
    installed = "build-system" in document
    if "dependencies" in project.get("dynamic", []) or (installed and "sources" in uv):
        return Requirements(None, local=True, project=True, settings=settings)
    dependencies = project.get("dependencies", [])
    if not isinstance(dependencies, list):
        raise RequirementsError("pyproject.toml: project.dependencies is not a list")
    lines = [str(dependency) for dependency in dependencies]
    return Requirements(
        "".join(f"{line}\n" for line in lines),
        local=not all(map(_is_plain, lines)),
        project=installed,
        settings=settings,
    )


def _document(path: Path, *, wanted: bool) -> Mapping[str, Any]:
    """Read a pyproject.toml. Unless it is wanted, its faults are ignored."""
    try:
        return tomllib.loads(_read(path) or "")
    except (tomllib.TOMLDecodeError, RequirementsError) as error:
        if not wanted:
            return {}
        if isinstance(error, RequirementsError):
            raise
        raise RequirementsError(f"pyproject.toml: {error}") from error


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


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
