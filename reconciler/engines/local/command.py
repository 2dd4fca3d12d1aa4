"""Loads and trainings: the contract between a command and its artifact."""

from __future__ import annotations

import socket
import stat
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from reconciler.engine import (
    RESULT_DIR,
    CommandPaths,
    Ranks,
    ReportServer,
    Result,
    ResultWarning,
    RunSpec,
    output_variable,
)
from reconciler.engines.local.environment import read_secrets
from reconciler.engines.local.failures import ArtifactError
from reconciler.engines.local.folders import have_folder, is_folder
from reconciler.engines.local.fsync import (
    make_read_only,
    make_writable,
    remove_tree,
    sync_directory,
    write_new,
)
from reconciler.engines.local.input_check import InputCheck, read_signing_key
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.layout import path_of
from reconciler.engines.local.locks import KeyLock
from reconciler.engines.local.logs import Output
from reconciler.engines.local.marker import (
    LOCAL,
    LOGS,
    MARKER,
    curves_of,
    last_attempt,
    log_of,
    make_durable,
    make_links_relative,
    note_try,
    write_marker,
)
from reconciler.engines.local.metrics import read_metrics
from reconciler.engines.local.progress import AttemptProgress
from reconciler.engines.local.reports import ReportListener
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.runtime import RankOrder, Workplace
from reconciler.engines.local.use import in_use
from reconciler.engines.local.verification import (
    FaultKind,
    FileFault,
    find_faults,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.signing import SIGNATURE, SigningKey
from reconciler.types import TaskKind


def execute(run: RunContext, environ: dict[str, str]) -> Result:
    """Make the artifact, unless it is complete.

    Raises RunFailedError and OSError.
    """
    return _Execution(run, environ).execute()


@dataclass(slots=True)
class _Execution:
    run: RunContext
    environ: Mapping[str, str]
    gpu_seconds: float = 0.0
    #: Files of this artifact, once complete, that are not as they were made.
    damaged: tuple[FileFault, ...] = ()
    inputs: InputCheck = field(init=False)

    def __post_init__(self) -> None:
        self.inputs = InputCheck(self.run)

    @property
    def spec(self) -> RunSpec:
        return self.run.spec

    @property
    def output(self) -> Path:
        return path_of(self.spec.output or "") or Path()

    @property
    def base(self) -> Path | None:
        return path_of(self.spec.base.url) if self.spec.base else None

    @property
    def dataset(self) -> Path | None:
        return path_of(self.spec.dataset.url) if self.spec.dataset else None

    @property
    def artifact(self) -> Path | None:
        return path_of(self.spec.artifact.url) if self.spec.artifact else None

    def execute(self) -> Result:
        run = self.run
        lock = run.lock(run.layout.key_lock(self.spec.key), ReasonCode.WAITING_FOR_SAME_KEY)
        try:
            # Its content may have been found damaged: then it is made again, whatever sizes say.
            marker, self.damaged = self.inputs.finish(find_faults(self.output, self.spec.key))
            if marker is None or self.damaged:
                run.not_lost()
                with self._image_in_use():
                    return run.with_retries(lambda: self._once(lock))
            make_read_only(self.output)
            return marker.result(self.spec.output or "")
        finally:
            lock.release()

    def _image_in_use(self) -> AbstractContextManager[None]:
        """Keep a built image from being collected. Named ones never are."""
        image = path_of(self.spec.image or "")
        return nullcontext() if image is None else in_use(self.run.layout, image.name)

    def _prepare(self) -> None:
        """Make the artifact directory writable; check the inputs."""
        have_folder(self.output)
        sync_directory(self.output.parent)
        if not self.output.stat().st_mode & stat.S_IWUSR:
            # It was complete once, and is not any more: a file has been lost or cut short.
            make_writable(self.output)
        have_folder(self.output / LOGS)
        self._note_try()
        for fault in self.damaged:
            if fault.kind in (FaultKind.SIZE, FaultKind.CONTENT):
                # The command would take it for what an earlier attempt left.
                remove_tree(self.output / fault.path)
        self.damaged = ()
        self.inputs.check()

    def _once(self, lock: KeyLock) -> Result:
        run, spec = self.run, self.spec
        self._prepare()
        self._unmark()
        signing_key = read_signing_key(run.allocation.signing)
        workplace = run.runtime.workplace(run, self.environ)
        secrets = read_secrets(run.allocation.secrets, spec.namespace, spec.secret_env)
        attempt = last_attempt(self.output / LOGS) + 1
        scratch = run.layout.scratch(spec.name)
        remove_tree(scratch)
        progress = AttemptProgress(
            attempt=attempt,
            files=[progress_file(scratch, rank) for rank in range(spec.resources.nodes)],
            newest=run.run.progress,
            curves=curves_of(self.output / LOGS, attempt),
            clock=run.clock,
        )
        with closing(ReportListener(spec.name, progress.take)) as reports:
            commands = self._commands(attempt, workplace, secrets, scratch, reports)
            output = run.begin(attempt=attempt, log=log_of(self.output / LOGS, attempt))
            started = run.clock.now()
            try:
                try:
                    run.attempt(
                        commands,
                        output,
                        [lock],
                        timeout=spec.timeout,
                        place=self.output,
                        secret=secrets.values(),
                        progress=progress,
                        reports=reports,
                        workload=workplace.workload,
                    )
                except BaseException:
                    self._unmark()
                    raise
                finally:
                    elapsed = (run.clock.now() - started).total_seconds()
                    self.gpu_seconds += elapsed * spec.resources.gpus
                    gone = not is_folder(self.output)
                    self._keep_logs(output)
                    progress.close()
                if gone:
                    raise self._gone()
                return self._complete(attempt, started, output, signing_key)
            finally:
                output.close()
                remove_tree(scratch)

    def _keep_logs(self, output: Output) -> None:
        """Write again what the command has removed of its logs."""
        with suppress(OSError):  # no log is worth another end of the attempt
            have_folder(self.output)
            have_folder(self.output / LOGS)
            output.restore()
            self._note_try()

    def _note_try(self) -> None:
        if self.spec.lineage.get(LOCAL) is True:
            note_try(self.output, self.spec.task)

    def _gone(self) -> ArtifactError:
        kind = self.spec.output_kind
        variable = RESULT_DIR if self.spec.artifact is not None else output_variable(kind)
        return ArtifactError(
            f"the directory that {variable} names is not there any more; write "
            "into it, and remove or replace no more than what is in it"
        )

    def _complete(
        self, attempt: int, started: datetime, output: Output, signing_key: SigningKey | None
    ) -> Result:
        finished = self.run.clock.now()
        metrics, ignored = read_metrics(self.output)
        warnings = [*self.inputs.changed_meanwhile()]
        if ignored is not None:
            output.note(ignored)
            warnings.append(Reason.of(ReasonCode.METRICS_IGNORED, detail=ignored))
        self._unmark()
        make_links_relative(self.output)
        digests = make_durable(self.output)
        marker = write_marker(
            self.output,
            key=self.spec.key,
            lineage={**self.spec.lineage, "params": dict(self.spec.params)},
            metrics=metrics,
            warnings=map(ResultWarning.of, warnings),
            started=started,
            finished=finished,
            gpu_seconds=self.gpu_seconds,
            attempt=attempt,
            digests=digests,
            signing_key=signing_key,
        )
        make_read_only(self.output)
        return marker.result(self.spec.output or "")

    def _unmark(self) -> None:
        """Remove a marker that is not valid, and its signature."""
        if self.output.is_symlink():
            return  # another directory's may be whole
        with suppress(NotADirectoryError):  # a command has put a file in the artifact's place
            remove_tree(self.output / MARKER)
            remove_tree(self.output / SIGNATURE)

    def _commands(
        self,
        attempt: int,
        workplace: Workplace,
        secrets: Mapping[str, str],
        scratch: Path,
        listener: ReportListener,
    ) -> list[RankCommand]:
        spec, nodes = self.spec, self.spec.resources.nodes
        gpus, each = self.run.allocation.gpus, spec.resources.gpus // nodes
        port = _free_port()
        scratch.mkdir(parents=True)
        token = scratch / "token"
        write_new(token, listener.token.encode(), 0o600)
        commands = []
        for rank in range(nodes):
            folder = scratch / str(rank)
            for name in ("work", "home", "tmp", "out"):
                (folder / name).mkdir(parents=True)
            order = RankOrder(
                ranks=Ranks(nodes=nodes, address="127.0.0.1", port=port, rank=rank),
                attempt=attempt,
                folder=folder,
                paths=self._paths(
                    self.output if rank == 0 else folder / "out",
                    scratch=folder / "work",
                    progress=progress_file(scratch, rank),
                ),
                reports=ReportServer(url=listener.url, token=str(token)),
                secrets=secrets,
                gpus=gpus[rank * each : (rank + 1) * each],
            )
            commands.append(workplace.command(order))
        return commands

    def _paths(self, output: Path, *, scratch: Path, progress: Path) -> CommandPaths:
        reads = self.spec.task in (TaskKind.TRAIN, TaskKind.EVALUATE)
        dataset = self.dataset if reads else None
        return CommandPaths(
            output=str(output),
            params=str(self.run.run.params),
            progress=str(progress),
            scratch=str(scratch),
            base=str(self.base) if self.base else None,
            dataset=str(dataset) if dataset else None,
            artifact=str(self.artifact) if self.artifact else None,
        )


def progress_file(scratch: Path, rank: int) -> Path:
    """Return a rank's PROGRESS_FILE, in a folder that is writable."""
    return scratch / str(rank) / "progress.json"


def _free_port() -> int:
    """Return a port that is free now, for ranks to meet at."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
