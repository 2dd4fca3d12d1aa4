"""Builds: a source tree, read-only, and its virtual environment.

``requirements.txt`` wins over ``pyproject.toml``: a Dockerfile installs the former, pinned, where
both exist. A ``pyproject.toml`` with a ``[build-system]`` has the project installed; one without,
its dependencies; one without ``[project]`` only configures tools.

An environment is named by its content and shared by all trees with the same. Where the
requirements name files of the tree, it is the tree's own.
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
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.engine import FailureClass, Result, RunPhase
from reconciler.engines.local import state as states
from reconciler.engines.local.environment import for_installer
from reconciler.engines.local.failures import RequirementsError, RunFailedError
from reconciler.engines.local.fsync import (
    encode,
    make_read_only,
    make_writable,
    read_json,
    remove_tree,
    sync_directory,
    sync_tree,
)
from reconciler.engines.local.fsync import replace as replace_file
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.layout import ImageDirectory, RootLayout
from reconciler.engines.local.locks import KeyLock
from reconciler.engines.local.marker import last_attempt, log_of
from reconciler.engines.local.run_context import RunContext
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON

_VERSION = 1
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


def image_result(image: ImageDirectory) -> Result | None:
    """Return the complete image of a directory as a result, or None."""
    return Result(image=image.path.as_uri()) if _record(image) is not None else None


def image_environment(layout: RootLayout, image: ImageDirectory) -> Path | None:
    """Return the virtual environment of a complete image, if any.

    Raises RunFailedError where the image or its environment is gone.
    """
    record = _record(image)
    env = record.get("env") if record else None
    if record is None:
        raise RunFailedError(
            Reason.of(ReasonCode.IMAGE_GONE, image=str(image.path)), FailureClass.INFRASTRUCTURE
        )
    return layout.envs / str(env) if env else None


def execute(run: RunContext, environ: dict[str, str]) -> Result:
    """Make the image. Raises RunFailedError, StoppedError and OSError."""
    spec = run.spec
    context = spec.build
    assert context is not None
    image = run.layout.image(spec.key)
    lock = run.lock(spec.key, ReasonCode.WAITING_FOR_SAME_KEY)
    try:
        if (done := image_result(image)) is not None:
            return done
        run.not_lost()
        begun = replace(run.state, phase=RunPhase.RUNNING, started=states.now())
        run.save(begun.because(None))
        _place(run, image)
        requirements = requirements_of(image.tree)
        env = None
        if requirements is not None:
            env = requirements.environment(spec.key)
            _provide(run, requirements, env, image, lock, environ)
        make_read_only(image.tree)
        sync_tree(image.path)
        record: JSON = {
            "version": _VERSION,
            "key": spec.key,
            "commit": context.commit,
            "tree": context.tree,
            "env": env,
        }
        replace_file(image.record, encode(record))
        sync_directory(image.path.parent)
        return Result(image=image.path.as_uri())
    finally:
        lock.release()


def _record(image: ImageDirectory) -> dict[str, JSON] | None:
    try:
        record = read_json(image.record)
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("version") != _VERSION:
        return None
    env = record.get("env")
    layout = RootLayout(image.path.parent.parent)
    return None if env and not (layout.envs / f"{env}.json").exists() else record


def _place(run: RunContext, image: ImageDirectory) -> None:
    """Move the exported tree into place, unless an earlier supervisor did."""
    source = run.run.source
    if source.is_dir():
        remove_tree(image.tree)
        image.path.mkdir(exist_ok=True)
        source.rename(image.tree)
    if not image.tree.is_dir():
        lost = Reason.of(
            ReasonCode.INFRASTRUCTURE_FAILED, detail="the exported source is not there any more"
        )
        raise RunFailedError(lost, FailureClass.INFRASTRUCTURE)


def _provide(
    run: RunContext,
    requirements: Requirements,
    env: str,
    image: ImageDirectory,
    lock: KeyLock,
    environ: dict[str, str],
) -> None:
    """Make the environment, unless another build makes it meanwhile."""
    complete = run.layout.envs / f"{env}.json"
    if complete.exists():
        return
    own = run.lock(f"env-{env}", ReasonCode.WAITING_FOR_ENVIRONMENT)
    try:
        if not complete.exists():
            folder = run.layout.envs / env
            run.with_retries(
                lambda: _install(run, requirements, folder, image, [lock, own], environ)
            )
            sync_tree(folder)
            replace_file(complete, encode({"version": _VERSION, "requirements": requirements.text}))
    finally:
        own.release()


def _install(
    run: RunContext,
    requirements: Requirements,
    env: Path,
    image: ImageDirectory,
    locks: list[KeyLock],
    environ: dict[str, str],
) -> None:
    scratch = run.layout.scratch(run.spec.name)
    remove_tree(scratch)
    remove_tree(env)
    scratch.mkdir(parents=True)
    cwd, file = image.tree, image.tree / "requirements.txt"
    project = None
    if requirements.text is None:
        # Build backends write into the project; the tree stays as it was committed.
        cwd = project = scratch / "project"
        shutil.copytree(image.tree, project, symlinks=True)
        make_writable(project)
    elif not file.is_file():
        file = scratch / "requirements.txt"
        file.write_text(requirements.text, encoding="utf-8")
    attempt = last_attempt(run.run.logs) + 1
    output = run.begin(attempt=attempt, log=log_of(run.run.logs, attempt))
    started = states.now()
    try:
        for argv in steps(env, None if project else file, project):
            left = run.spec.timeout - (states.now() - started).total_seconds()
            command = RankCommand(argv=argv, cwd=cwd, env=for_installer(environ))
            run.attempt([command], output, locks, timeout=max(left, 0.0), place=env.parent)
        make_read_only(env, directories_only=True)
    finally:
        output.close()
        remove_tree(scratch)


@dataclass(frozen=True, slots=True)
class Requirements:
    """The requirements of a tree.

    ``text`` is in requirements.txt's form; None: the project itself. ``local``: they name files of
    the tree.
    """

    text: str | None
    local: bool

    def environment(self, build_key: str) -> str:
        """Return the name of the environment."""
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
    """Read a tree's requirements; None without any. Raises RequirementsError."""
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
    """Return the commands that make an environment, by uv if present."""
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
