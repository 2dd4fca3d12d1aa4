"""A local engine on a temporary root, with real sources, buckets and processes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from reconciler.engine import Run, RunPhase, RunSpec
from reconciler.engines.local import LocalEngine
from reconciler.engines.local.layout import path_of
from reconciler.reasons import message
from reconciler.types import BuildContext, TaskKey, TaskKind, TreeId
from tests.patience import PATIENCE
from tests.specs import COMMIT, run_spec


def key_of(text: str) -> TaskKey:
    """A key, different for each text."""
    return TaskKey(hashlib.sha1(text.encode()).hexdigest())


def export(context: BuildContext, folder: Path) -> None:
    """Write a build context: here, copy the folder that its URL names."""
    source = path_of(context.url)
    assert source is not None
    shutil.copytree(source, folder, dirs_exist_ok=True, symlinks=True)


def reason(run: Run) -> str:
    """The message of a run's reason."""
    return message(run.reason) if run.reason else ""


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for a condition, by a generous deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what or condition}"
        await asyncio.sleep(0.01)


def running(pid: int) -> bool:
    """Whether a process is there and is no zombie, which init may be slow to bury."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def script(body: str) -> str:
    return f"#!/bin/sh\nset -eu\n{body}\n"


class Bench:
    """Everything a test needs of one engine's root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.secrets = folder / "secrets"
        self.bucket = folder / "bucket"
        self.gate = folder / "gate"
        self.begun = folder / "begun"
        #: Held open by a process as long as it lives, whose id is another one out here.
        self.life = folder / "life"
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self.life)
        #: The shell's line by which it, and what it starts, count as :meth:`alive`.
        self.live = f"exec 9<> {self.life}"
        #: What a command that waits for the gate does.
        self.wait = f"while ! test -e {self.gate}; do sleep 0.02; done"
        self._numbers = itertools.count()

    def alive(self) -> bool:
        """Whether a process that took part in ``life`` is left."""
        try:
            os.close(os.open(self.life, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        return True

    @asynccontextmanager
    async def engine(self, **options: Any) -> AsyncIterator[LocalEngine]:
        """A started engine on this root."""
        settings: dict[str, Any] = {
            "slots": 4,
            "gpus": 0,
            "export": export,
            "secrets": self.secrets,
            "retry_delay": 0.01,
            "grace": 0.3,
            "poll": 0.1,
        }
        engine = LocalEngine(self.root, **(settings | options))
        await engine.start(lambda: None)
        try:
            yield engine
        finally:
            await engine.stop()

    def source(self, files: Mapping[str, str]) -> Path:
        """A source folder. Files with a first line #! are executable."""
        folder = self.folder / f"source-{next(self._numbers)}"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        folder.mkdir(exist_ok=True)
        return folder

    def build_spec(self, source: Path, **fields: Any) -> RunSpec:
        key = fields.pop("key", key_of(f"build {source}"))
        tree = TreeId(key_of(str(source)))
        context = BuildContext(url=source.as_uri(), commit=COMMIT, tree=tree)
        return run_spec("build", TaskKind.BUILD, key=key, build=context, **fields)

    async def image(self, engine: LocalEngine, files: Mapping[str, str]) -> str:
        """Build a source and return its image."""
        spec = self.build_spec(self.source(files))
        run = await self.complete(engine, spec)
        assert run.phase is RunPhase.SUCCEEDED, run.reason
        assert run.result is not None
        assert run.result.image is not None
        return run.result.image

    def spec(self, image: str, text: str = "train", **fields: Any) -> RunSpec:
        """A training named ``text`` that runs run.sh of the image."""
        key = fields.pop("key", key_of(text))
        output = f"{(self.bucket / text / key).as_uri()}/"
        values = {"key": key, "image": image, "command": ("run.sh",), "output": output}
        return run_spec(text, **(values | fields))

    def artifact(self, spec: RunSpec) -> Path:
        path = path_of(spec.output or "")
        assert path is not None
        return path

    def log(self, spec: RunSpec, attempt: int = 1) -> str:
        return (self.artifact(spec) / "logs" / f"attempt-{attempt}.log").read_text()

    def marker(self, spec: RunSpec) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.artifact(spec) / "completed.json").read_text())
        return content

    async def ended(self, engine: LocalEngine, name: str) -> Run:
        await until(lambda: name not in engine.runs() or not engine.runs()[name].live, name)
        return engine.runs()[name]

    async def complete(self, engine: LocalEngine, spec: RunSpec) -> Run:
        """Create a run, and wait for its end."""
        await engine.create(spec)
        return await self.ended(engine, spec.name)

    async def begin(self, body: str, engine: LocalEngine, **fields: Any) -> RunSpec:
        """A run of a shell script, once it runs."""
        spec = self.spec(await self.image(engine, {"run.sh": script(body)}), **fields)
        await engine.create(spec)
        await until(lambda: engine.runs()[spec.name].phase is RunPhase.RUNNING)
        return spec

    async def carry_out(
        self, body: str | Mapping[str, str], engine: LocalEngine | None = None, **fields: Any
    ) -> tuple[RunSpec, Run]:
        """Run a shell script, or run.sh of these files, to its end: on its own engine, or this."""
        if engine is None:
            async with self.engine() as own:
                return await self.carry_out(body, own, **fields)
        files = {"run.sh": script(body)} if isinstance(body, str) else body
        spec = self.spec(await self.image(engine, files), **fields)
        return spec, await self.complete(engine, spec)

    async def succeed(
        self, body: str | Mapping[str, str], engine: LocalEngine | None = None, **fields: Any
    ) -> RunSpec:
        """Carry out what must end well."""
        spec, run = await self.carry_out(body, engine, **fields)
        assert run.phase is RunPhase.SUCCEEDED, run.reason
        return spec
