"""Builds: a source tree, read-only, and its virtual environment.

The environment of the dependencies (:mod:`.requirements`) is shared by all images that ask for the
same. A project that is itself installed gets a small environment of its own in its image, on top of
the shared one: a commit that changes code alone installs that code alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.engine import FailureClass, Result, RunPhase, warnings_of
from reconciler.engines.local.environment import for_installer
from reconciler.engines.local.failures import RunFailedError
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
from reconciler.engines.local.lfs import lfs_warning
from reconciler.engines.local.locks import KeyLock
from reconciler.engines.local.marker import last_attempt, log_of
from reconciler.engines.local.requirements import Requirements, requirements_of
from reconciler.engines.local.run_context import RunContext
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON

_VERSION = 1


def image_result(image: ImageDirectory) -> Result | None:
    """Return the complete image of a directory as a result, or None."""
    record = _record(image)
    if record is None:
        return None
    return Result(image=image.path.as_uri(), warnings=warnings_of(record.get("warnings")))


def image_environments(layout: RootLayout, image: ImageDirectory) -> tuple[Path, ...]:
    """Return the virtual environments of a complete image.

    That of its commands comes first.
    Raises RunFailedError where the image or an environment is gone.
    """
    record = _record(image)
    if record is None:
        raise RunFailedError(
            Reason.of(ReasonCode.IMAGE_GONE, image=str(image.path)), FailureClass.INFRASTRUCTURE
        )
    own = (image.env,) if record.get("project") else ()
    env = record.get("env")
    return (*own, layout.envs / str(env)) if env else own


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
        begun = replace(run.state, phase=RunPhase.RUNNING, started=run.clock.now())
        run.save(begun.because(None))
        _place(run, image)
        requirements = requirements_of(image.tree)
        env = requirements.environment(spec.key) if requirements is not None else None
        if requirements is not None:
            _provide(run, requirements, image, lock, environ)
        make_read_only(image.tree)
        sync_tree(image.path)
        record: dict[str, JSON] = {
            "version": _VERSION,
            "key": spec.key,
            "commit": context.commit,
            "tree": context.tree,
            "env": env,
            "project": requirements is not None and requirements.layered,
        }
        if (warning := lfs_warning(image.tree)) is not None:
            record["warnings"] = [warning.to_json()]
        replace_file(image.record, encode(record))
        sync_directory(image.path.parent)
        return Result(image=image.path.as_uri(), warnings=(warning,) if warning else ())
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
    return None if env and not layout.environment_record(str(env)).exists() else record


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
    image: ImageDirectory,
    lock: KeyLock,
    environ: dict[str, str],
) -> None:
    """Make the environments that the image lacks.

    Another build may make them meanwhile, and is waited for.
    """
    env = requirements.environment(run.spec.key)
    complete = run.layout.environment_record(env)
    locks = [lock]
    if not complete.exists():
        locks.append(run.lock(f"env-{env}", ReasonCode.WAITING_FOR_ENVIRONMENT))
    try:
        if requirements.layered or not complete.exists():
            run.with_retries(lambda: _install(run, requirements, image, locks, environ))
    finally:
        for own in locks[1:]:
            own.release()


def _install(
    run: RunContext,
    requirements: Requirements,
    image: ImageDirectory,
    locks: Sequence[KeyLock],
    environ: dict[str, str],
) -> None:
    name = requirements.environment(run.spec.key)
    env, complete = run.layout.envs / name, run.layout.environment_record(name)
    scratch = run.layout.scratch(run.spec.name)
    remove_tree(scratch)
    scratch.mkdir(parents=True)
    project = scratch / "project"
    if requirements.project:
        # Build backends write into the project; the tree stays as it was committed.
        shutil.copytree(image.tree, project, symlinks=True)
        make_writable(project)
    attempt = last_attempt(run.run.logs) + 1
    output = run.begin(attempt=attempt, log=log_of(run.run.logs, attempt))
    deadline = time.monotonic() + run.spec.timeout

    def execute_all(commands: Sequence[tuple[str, ...]], cwd: Path) -> None:
        for argv in commands:
            left = deadline - time.monotonic()
            command = RankCommand(argv=argv, cwd=cwd, env=for_installer(environ))
            run.attempt([command], output, locks, timeout=max(left, 0.0), place=env.parent)

    try:
        if not complete.exists():
            remove_tree(env)
            if requirements.text is None:
                execute_all(steps(env, str(project)), project)
            else:
                file = image.tree / "requirements.txt"
                if not file.is_file():
                    file = scratch / "requirements.txt"
                    file.write_text(requirements.text, encoding="utf-8")
                execute_all(steps(env, "-r", str(file)), image.tree)
            make_read_only(env, directories_only=True)
            sync_tree(env)
            replace_file(complete, encode({"version": _VERSION, "requirements": requirements.text}))
        if requirements.layered:
            remove_tree(image.env)
            execute_all(steps(image.env, "--no-deps", str(project)), project)
            put_on_top(image.env, env)
            make_read_only(image.env, directories_only=True)
    finally:
        output.close()
        remove_tree(scratch)


def steps(env: Path, *target: str) -> list[tuple[str, ...]]:
    """Return the commands that make an environment, by uv if present."""
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


def put_on_top(env: Path, below: Path) -> None:
    """Add the packages, scripts and data of another environment.

    Its own come first. A script is copied, so that the interpreter that it names is this
    environment's: ``torchrun`` of the dependencies finds the project.
    """
    lines = [f"import site; site.addsitedir({folder!a})" for folder in _packages(below)]
    file = Path(_packages(env)[0], "_dependencies.pth")
    file.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    for script in (below / "bin").iterdir():
        own = env / "bin" / script.name
        if own.exists():
            continue
        data = b"" if script.is_symlink() else script.read_bytes()
        # The interpreter is in the first line, or in the second where its path is long.
        *head, rest = data.split(b"\n", 2)
        place = os.fsencode(below / "bin") + b"/"
        if data.startswith(b"#!") and any(place in line for line in head):
            mended = [line.replace(place, os.fsencode(env / "bin") + b"/") for line in head]
            own.write_bytes(b"\n".join([*mended, rest]))
            own.chmod(script.stat().st_mode)
        else:
            own.symlink_to(script)
    for data_folder in below.iterdir():
        if not (env / data_folder.name).exists():
            (env / data_folder.name).symlink_to(data_folder)


def _packages(env: Path) -> list[str]:
    """The folders of an environment's packages; on most systems one."""
    variables = {"base": str(env), "platbase": str(env)}
    found = (sysconfig.get_path(name, "venv", variables) for name in ("purelib", "platlib"))
    return list(dict.fromkeys(found))


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
