"""A load or a training on this engine: the contract between a command and its artifact."""

from __future__ import annotations

import socket
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.engine import FailureClass, Result
from reconciler.engines.command_environment import (
    DEFAULTS,
    CommandPaths,
    Ranks,
    contract_variables,
    output_variable,
)
from reconciler.engines.local import sandbox
from reconciler.engines.local import state as states
from reconciler.engines.local.build import image_environment
from reconciler.engines.local.claim import Claim
from reconciler.engines.local.environment import passed_on, read_secrets, search_path
from reconciler.engines.local.fsync import (
    make_read_only,
    make_writable,
    read_json,
    remove_tree,
    sync_directory,
    sync_tree,
)
from reconciler.engines.local.launch import Command, find_program
from reconciler.engines.local.layout import Image
from reconciler.engines.local.logs import Output
from reconciler.engines.local.marker import (
    LOGS,
    MARKER,
    ArtifactError,
    MetricsError,
    last_attempt,
    log_of,
    read_marker,
    read_metrics,
    write_marker,
)
from reconciler.engines.local.run_context import Carrier, RunFailedError
from reconciler.types import Kind, TaskKind


def carry_out(run: Carrier, environ: dict[str, str]) -> Result:
    """Make the artifact, or find it made.

    Raises as :class:`Carrier` does, and CommandError, SecretError, ArtifactError and OSError.
    """
    return _Production(run, environ).carry_out()


@dataclass(slots=True)
class _Production:
    run: Carrier
    environ: Mapping[str, str]
    gpu_seconds: float = 0.0

    @property
    def output(self) -> Path:
        return Path(self.run.job.output or "")

    @property
    def image(self) -> Image:
        return Image(Path(self.run.job.image or ""))

    @property
    def _own(self) -> str:
        """The variable that names the artifact directory."""
        return output_variable(Kind(self.run.job.output_kind))

    def carry_out(self) -> Result:
        run, job = self.run, self.run.job
        claim = run.claim(job.key, "an earlier attempt of the same key to end")
        try:
            marker = read_marker(self.output, job.key)
            if marker is None:
                run.not_lost()
                return run.with_retries(lambda: self._once(claim))
            make_read_only(self.output)
            return marker.result(job.output_url or "")
        finally:
            claim.release()

    def _prepare(self) -> None:
        """See that the artifact directory can be written, and that what is read is there."""
        _have_folder(self.output)
        sync_directory(self.output.parent)
        if not self.output.stat().st_mode & stat.S_IWUSR:
            # It was complete once, and is not any more: a file has been lost or cut short.
            make_writable(self.output)
        _have_folder(self.output / LOGS)
        for what, path in (("base", self.run.job.base), ("dataset", self.run.job.dataset)):
            if path and not Path(path).is_dir():
                raise RunFailedError(
                    f"the {what} is not there: {path} is not a directory",
                    FailureClass.INFRASTRUCTURE,
                )

    def _once(self, claim: Claim) -> Result:
        run, job = self.run, self.run.job
        self._prepare()
        self._unmark()
        env = image_environment(run.layout, self.image)
        secrets = read_secrets(job.secrets, job.secret_env)
        attempt = last_attempt(self.output / LOGS) + 1
        scratch = run.layout.scratch(job.name)
        remove_tree(scratch)
        commands = self._commands(attempt, env, secrets, scratch)
        find_program(job.command[0], self.image.tree, commands[0].env["PATH"])
        output = run.begin(attempt=attempt, log=log_of(self.output / LOGS, attempt))
        started = states.now()
        try:
            try:
                run.attempt(
                    commands,
                    output,
                    [claim],
                    timeout=job.timeout,
                    place=self.output,
                    secret=secrets.values(),
                )
            except BaseException:
                self._unmark()
                raise
            finally:
                elapsed = (states.now() - started).total_seconds()
                self.gpu_seconds += elapsed * job.gpus * job.nodes
            return self._complete(attempt, started, output)
        finally:
            output.close()
            remove_tree(scratch)

    def _complete(self, attempt: int, started: datetime, output: Output) -> Result:
        job = self.run.job
        finished = states.now()
        if self.output.is_symlink() or not self.output.is_dir():
            raise ArtifactError(
                f"the directory that {self._own} names is not there any more; write into it, and "
                "remove or replace no more than what is in it"
            )
        metrics: dict[str, float] = {}
        try:
            metrics = read_metrics(self.output)
        except MetricsError as error:
            output.note(f"{error}; the artifact is complete without metrics")
        self._unmark()
        sync_tree(self.output)
        marker = write_marker(
            self.output,
            key=job.key,
            lineage=job.lineage,
            metrics=metrics,
            started=started,
            finished=finished,
            gpu_seconds=self.gpu_seconds,
            attempt=attempt,
        )
        make_read_only(self.output)
        return marker.result(job.output_url or "")

    def _unmark(self) -> None:
        """Nothing but a valid marker may look like one, whoever wrote it."""
        with suppress(NotADirectoryError):  # a command has put a file in the artifact's place
            remove_tree(self.output / MARKER)

    def _commands(
        self, attempt: int, env: Path | None, secrets: Mapping[str, str], scratch: Path
    ) -> list[Command]:
        job = self.run.job
        read = [Path(path) for path in (job.base, job.dataset) if path]
        protected = self._protected([self.image.tree, *([env] if env else []), *read])
        gpus = _granted(self.run)
        port = _free_port()
        commands = []
        for rank in range(job.nodes):
            folder = scratch / str(rank)
            for name in ("work", "home", "tmp", "out"):
                (folder / name).mkdir(parents=True)
            mine = gpus[rank * job.gpus : (rank + 1) * job.gpus]
            variables = {
                **passed_on(self.environ),
                "PATH": search_path(self.environ, env),
                "HOME": str(folder / "home"),
                "TMPDIR": str(folder / "tmp"),
                "PYTHONDONTWRITEBYTECODE": "1",
                **DEFAULTS,
                **({"VIRTUAL_ENV": str(env)} if env else {}),
                **job.env,
                **secrets,
                **contract_variables(
                    self._paths(self.output if rank == 0 else folder / "out", folder / "work"),
                    Ranks(nodes=job.nodes, address="127.0.0.1", port=port, rank=rank),
                    kind=Kind(job.output_kind),
                    attempt=attempt,
                ),
                "CUDA_VISIBLE_DEVICES": ",".join(mine),
            }
            commands.append(
                Command(argv=job.command, cwd=self.image.tree, env=variables, read_only=protected)
            )
        return commands

    def _paths(self, output: Path, scratch: Path) -> CommandPaths:
        job = self.run.job
        return CommandPaths(
            output=str(output),
            params=str(self.run.run.params),
            scratch=str(scratch),
            base=job.base,
            dataset=job.dataset if job.task == TaskKind.TRAIN else None,
        )

    def _protected(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        if not sandbox.available(self.image.tree):
            return ()
        # A folder given as data may hold the bucket too; then the output must stay writable.
        writable = (self.output.resolve(), self.run.layout.root.resolve())
        return tuple(
            path
            for path in paths
            if not any(place.is_relative_to(path.resolve()) for place in writable)
        )


def _have_folder(path: Path) -> None:
    """Have a folder of our own, whatever a command has put in its place."""
    if path.is_symlink() or not path.is_dir():
        remove_tree(path)
    path.mkdir(parents=True, exist_ok=True)


def _granted(run: Carrier) -> list[str]:
    grant = read_json(run.run.grant)
    gpus = grant.get("gpus") if isinstance(grant, dict) else None
    return [str(gpu) for gpu in gpus] if isinstance(gpus, list) else []


def _free_port() -> int:
    """Return a port that was free just now, for ranks to meet at."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
