"""The virtual environment of a source tree: whether it has one, under which name, and how made.

``requirements.txt`` wins over ``pyproject.toml``: where both are there it is what the Dockerfile
installs, pinned. Of a ``pyproject.toml`` with a ``[build-system]`` the project is installed; of
one without, its dependencies are; one without ``[project]`` only configures tools.

An environment is named by what goes into it and shared by all trees that need the same. Where
the requirements name files of the tree, it is the tree's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path

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


class RequirementsError(Exception):
    """The tree's requirements cannot be read; the message names the file."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a tree needs. ``text`` is in requirements.txt's form; None: the project itself.

    ``local``: it refers to files of the tree.
    """

    text: str | None
    local: bool

    def environment(self, build_key: str) -> str:
        """The name of the environment."""
        content = {
            "version": 1,
            "requirements": self.text,
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
    """What a source tree needs; None if nothing. Raises RequirementsError."""
    text = _read(tree / "requirements.txt")
    if text is not None:
        return Requirements(text, local=not all(map(_is_plain, _lines(text))))
    text = _read(tree / "pyproject.toml")
    if text is None:
        return None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequirementsError(f"pyproject.toml: {error}") from error
    project = document.get("project")
    if not isinstance(project, dict):
        return None
    dynamic = project.get("dynamic", [])
    if "build-system" in document or "dependencies" in dynamic:
        return Requirements(None, local=True)
    dependencies = project.get("dependencies", [])
    if not isinstance(dependencies, list):
        raise RequirementsError("pyproject.toml: project.dependencies is not a list")
    lines = [str(dependency) for dependency in dependencies]
    return Requirements("".join(f"{x}\n" for x in lines), local=not all(map(_is_plain, lines)))


def _read(path: Path) -> str | None:
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


def steps(env: Path, file: Path | None, project: Path | None) -> list[tuple[str, ...]]:
    """The commands that make an environment and install into it, by uv where there is one."""
    target = ("-r", str(file)) if file else (str(project),)
    python = str(env / "bin" / "python")
    uv = _uv()
    if uv is None:
        return [
            (sys.executable, "-m", "venv", str(env)),
            (python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *target),
        ]
    return [
        (sys.executable, "-m", "venv", "--without-pip", str(env)),
        # Compiled now, as commands cannot write into the environment later.
        (uv, "pip", "install", "--python", python, "--compile-bytecode", *target),
    ]


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
