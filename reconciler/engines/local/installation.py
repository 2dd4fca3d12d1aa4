"""Installation of a source's requirements: the environments of its image.

Dependencies go into an environment of their own, which other builds may be making or have made. A
project goes into its image's, above that one.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.engines.local.environment import for_installer
from reconciler.engines.local.failures import RequirementsError
from reconciler.engines.local.fsync import (
    make_read_only,
    make_writable,
    remove_tree,
    sync_tree,
)
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.layout import ImageDirectory
from reconciler.engines.local.locks import KeyLock
from reconciler.engines.local.logs import Output
from reconciler.engines.local.marker import last_attempt, log_of
from reconciler.engines.local.records import ENVIRONMENT, EnvironmentRecord, write_record
from reconciler.engines.local.requirements import Form, Requirements
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.use import in_use
from reconciler.reasons import ReasonCode

#: The folder of scratch that wheels are built into.
_WHEELS = "wheels"


@dataclass(slots=True)
class Installation:
    """The environments of one image, made by its build.

    ``lock`` is of the build's key. ``uses`` keeps the dependencies' environment from being
    collected until the image is complete.
    """

    run: RunContext
    image: ImageDirectory
    lock: KeyLock
    environ: Mapping[str, str]
    uses: ExitStack

    def provide(self, requirements: Requirements) -> Requirements:
        """Make the environments that the image lacks.

        Return the requirements, with dynamic dependencies computed. Another build may make the
        same environment meanwhile, and is waited for.
        Raises RunFailedError, StoppedError and OSError.
        """
        if requirements.computed:
            return self.run.with_retries(lambda: self._attempt(requirements, [self.lock]))
        with self._environment(requirements) as locks:
            if requirements.layered or not self._is_complete(requirements):
                self.run.with_retries(lambda: self._attempt(requirements, locks))
        return requirements

    def _name(self, requirements: Requirements) -> str:
        return requirements.environment(self.run.spec.key)

    def _is_complete(self, requirements: Requirements) -> bool:
        return self.run.layout.environment_record(self._name(requirements)).exists()

    @contextmanager
    def _environment(self, requirements: Requirements) -> Iterator[list[KeyLock]]:
        """Use the dependencies' environment, with its lock too unless it is complete."""
        layout, name = self.run.layout, self._name(requirements)
        self.uses.enter_context(in_use(layout, name))
        if self._is_complete(requirements):
            yield [self.lock]
            return
        own = self.run.lock(layout.environment_lock(name), ReasonCode.WAITING_FOR_ENVIRONMENT)
        try:
            yield [self.lock, own]
        finally:
            own.release()

    def _attempt(self, requirements: Requirements, locks: Sequence[KeyLock]) -> Requirements:
        """Make them once, with a log of their own."""
        run = self.run
        scratch = run.layout.scratch(run.spec.name)
        remove_tree(scratch)
        scratch.mkdir(parents=True)
        attempt = last_attempt(run.run.logs) + 1
        output = run.begin(attempt=attempt, log=log_of(run.run.logs, attempt))
        commands = _Commands(self, output, run.spec.timeout)
        try:
            project = scratch / "project"
            if requirements.project:
                # Build backends write into the project; the tree stays as it was committed.
                shutil.copytree(self.image.tree, project, symlinks=True)
                make_writable(project)
            if not requirements.computed:
                self._install(requirements, commands, project, locks)
                return requirements
            wheel = self._wheel(commands, project, locks)
            requirements = requirements.resolved(wheel)
            with self._environment(requirements) as all_locks:
                self._install(requirements, commands, project, all_locks, wheel=wheel)
            return requirements
        finally:
            output.close()
            remove_tree(scratch)

    def _wheel(self, commands: _Commands, project: Path, locks: Sequence[KeyLock]) -> Path:
        """Build the project. Its metadata name the dependencies."""
        scratch = project.parent
        commands.run(wheel_steps(project, scratch), project, locks)
        wheels = sorted((scratch / _WHEELS).glob("*.whl"))
        if len(wheels) != 1:
            raise RequirementsError(f"the build backend made {len(wheels)} wheels; expected one")
        return wheels[0]

    def _install(
        self,
        requirements: Requirements,
        commands: _Commands,
        project: Path,
        locks: Sequence[KeyLock],
        *,
        wheel: Path | None = None,
    ) -> None:
        layout, image = self.run.layout, self.image
        name = self._name(requirements)
        env = layout.envs / name
        if not self._is_complete(requirements):
            remove_tree(env)
            target, cwd = self._target(requirements, project)
            commands.run(steps(env, *target), cwd, locks)
            make_read_only(env, directories_only=True)
            sync_tree(env)
            record = EnvironmentRecord(
                requirements=requirements.text, shared=not requirements.local
            )
            write_record(layout.environment_record(name), ENVIRONMENT, record)
        if requirements.layered:
            remove_tree(image.env)
            commands.run(steps(image.env, "--no-deps", str(wheel or project)), project, locks)
            put_on_top(image.env, env)
            make_read_only(image.env, directories_only=True)

    def _target(self, requirements: Requirements, project: Path) -> tuple[Sequence[str], Path]:
        """Return an installer's arguments for the dependencies, and its working directory."""
        tree = self.image.tree
        if requirements.form is Form.WHOLE:
            return [str(project)], project
        if requirements.form is Form.PROJECT and _uv() is not None:
            return ["-r", str(tree / "pyproject.toml")], tree
        file = tree / "requirements.txt"
        if requirements.form is not Form.FILE:
            file = project.parent / "requirements.txt"
            file.write_text(requirements.text or "", encoding="utf-8")
        return ["-r", str(file)], tree


class _Commands:
    """The installer's commands of one attempt, which have one timeout together."""

    def __init__(self, of: Installation, output: Output, timeout: float) -> None:
        self._of, self._output, self._left = of, output, timeout

    def run(self, commands: Sequence[tuple[str, ...]], cwd: Path, locks: Sequence[KeyLock]) -> None:
        """Run commands, one after the other. Raises RunFailedError and OSError."""
        run = self._of.run
        terms, own = run.allocation.isolation, run.layout.scratch(run.spec.name)
        isolation = terms.of(run.layout, (own,), build=True) if terms is not None else None
        for argv in commands:
            began = time.monotonic()
            environ = for_installer(self._of.environ)
            command = RankCommand(argv=argv, cwd=cwd, env=environ, isolation=isolation)
            left = max(self._left, 0.0)
            run.attempt([command], self._output, locks, timeout=left, place=run.layout.envs)
            self._left -= time.monotonic() - began


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


def wheel_steps(project: Path, scratch: Path) -> list[tuple[str, ...]]:
    """Return the commands that build a project's wheel, by uv if present."""
    wheels = str(scratch / _WHEELS)
    uv = _uv()
    if uv is not None:
        return [
            (uv, "build", "--wheel", "--out-dir", wheels, "--python", sys.executable, str(project))
        ]
    env = scratch / "builder"
    pip = (str(env / "bin" / "python"), "-m", "pip", "--no-input", "--disable-pip-version-check")
    return [
        (sys.executable, "-m", "venv", str(env)),
        (*pip, "wheel", "--no-deps", "--wheel-dir", wheels, str(project)),
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
