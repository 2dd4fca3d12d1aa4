"""Loads and trainings: the contract between a command and its artifact."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from reconciler.engine import (
    DEFAULTS,
    RESULT_DIR,
    CommandPaths,
    FailureClass,
    Ranks,
    ReportServer,
    Result,
    ResultWarning,
    RunSpec,
    contract_variables,
    manifest_variables,
    output_variable,
)
from reconciler.engines.local.build import image_environments
from reconciler.engines.local.environment import (
    passed_on,
    reaching_itself,
    read_secrets,
    search_path,
)
from reconciler.engines.local.failures import ArtifactError, RunFailedError
from reconciler.engines.local.fsync import (
    make_read_only,
    make_writable,
    remove_tree,
    sync_directory,
    write_new,
)
from reconciler.engines.local.launch import RankCommand, can_protect
from reconciler.engines.local.layout import ImageDirectory, path_of
from reconciler.engines.local.listing import FolderError, list_folder
from reconciler.engines.local.locks import KeyLock
from reconciler.engines.local.logs import Output
from reconciler.engines.local.marker import (
    LOGS,
    MARKER,
    Marker,
    curves_of,
    last_attempt,
    log_of,
    make_durable,
    make_links_relative,
    write_marker,
)
from reconciler.engines.local.metrics import read_metrics
from reconciler.engines.local.program import find_program
from reconciler.engines.local.progress import AttemptProgress
from reconciler.engines.local.reports import ReportListener
from reconciler.engines.local.run_context import RunContext, StoppedError
from reconciler.engines.local.use import in_use
from reconciler.engines.local.verification import (
    FaultKind,
    FileFault,
    Verification,
    find_external_faults,
    find_faults,
    finish,
)
from reconciler.reasons import Reason, ReasonCode
from reconciler.signing import SIGNATURE, KeyFileError, SigningKey, TrustedKeys
from reconciler.types import ListingDigest, Mounted, TaskKind, Verify

#: Digits of a listing in a message.
_SHOWN = 12


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
    #: What is in the dataset's folder as the command starts, if that is observed.
    listing: ListingDigest | None = None

    @property
    def spec(self) -> RunSpec:
        return self.run.spec

    @property
    def output(self) -> Path:
        return path_of(self.spec.output or "") or Path()

    @property
    def image(self) -> ImageDirectory:
        return ImageDirectory(path_of(self.spec.image or "") or Path())

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
            marker, self.damaged = self._finish(find_faults(self.output, self.spec.key))
            if marker is None or self.damaged:
                run.not_lost()
                with in_use(run.layout, self.image.path.name):
                    return run.with_retries(lambda: self._once(lock))
            make_read_only(self.output)
            return marker.result(self.spec.output or "")
        finally:
            lock.release()

    def _prepare(self) -> None:
        """Make the artifact directory writable; check the inputs."""
        _have_folder(self.output)
        sync_directory(self.output.parent)
        if not self.output.stat().st_mode & stat.S_IWUSR:
            # It was complete once, and is not any more: a file has been lost or cut short.
            make_writable(self.output)
        _have_folder(self.output / LOGS)
        for fault in self.damaged:
            if fault.kind in (FaultKind.SIZE, FaultKind.CONTENT):
                # The command would take it for what an earlier attempt left.
                remove_tree(self.output / fault.path)
        self.damaged = ()
        spec = self.spec
        inputs = {"base": spec.base, "dataset": spec.dataset, "model": spec.artifact}
        for name, mounted in inputs.items():
            if mounted is not None:
                self._check(name, mounted)
                if mounted.listing is not None:
                    self._check_listing(mounted, mounted.listing)

    def _check_listing(self, mounted: Mounted, wanted: ListingDigest) -> None:
        """Raise RunFailedError if the data is not what the key says."""
        found = self._listed(mounted)
        if found != wanted:
            reason = Reason.of(
                ReasonCode.DATA_NOT_AS_LISTED,
                url=mounted.url,
                wanted=wanted[:_SHOWN],
                found=found[:_SHOWN],
            )
            raise RunFailedError(reason, FailureClass.INFRASTRUCTURE)
        self.listing = found

    def _listed(self, mounted: Mounted) -> ListingDigest:
        """List observed data. Raises RunFailedError and StoppedError."""
        path = path_of(mounted.url)
        assert path is not None  # the daemon has listed it
        try:
            return list_folder(path, self._go_on).digest
        except FolderError as error:
            detail = f"{mounted.url} cannot be listed: {error}"
            raise RunFailedError(
                Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=detail),
                FailureClass.INFRASTRUCTURE,
            ) from error

    def _changed_meanwhile(self) -> Iterator[Reason]:
        """Yield a warning if observed data changed while the command ran."""
        mounted = self.spec.dataset
        if mounted is None or self.listing is None:
            return
        try:
            after = self._listed(mounted)[:_SHOWN]
        except StoppedError:
            raise
        except RunFailedError:
            after = "none"
        if after != self.listing[:_SHOWN]:
            yield Reason.of(
                ReasonCode.DATA_CHANGED_MEANWHILE,
                url=mounted.url,
                before=self.listing[:_SHOWN],
                after=after,
            )

    def _go_on(self) -> None:
        if (stop := self.run.control.stop()) is not None:
            raise StoppedError(stop)

    def _check(self, name: str, mounted: Mounted) -> None:
        """Raise RunFailedError unless an input is there, as it was made."""
        path = path_of(mounted.url)
        if path is None:
            return
        if not path.is_dir():
            raise _refused(Reason.of(ReasonCode.ARTIFACT_LOST, input=name, url=mounted.url))
        verify = self.run.allocation.verified(mounted.url)
        if mounted.external and verify is not Verify.SIGNATURE:
            return
        if verify is not Verify.SIZES:
            checking = Reason.of(ReasonCode.VERIFYING_INPUT, input=name)
            self.run.save(self.run.state.because(checking))
        keys = self._trusted_keys() if verify is Verify.SIGNATURE else None
        if mounted.external and keys is not None:
            _, faults = self._finish(find_external_faults(path, keys))
        else:
            digests = verify is not Verify.SIZES
            _, faults = self._finish(find_faults(path, mounted.key, digests=digests, keys=keys))
        if faults:
            raise _refused(_explained(name, mounted, faults))

    def _trusted_keys(self) -> TrustedKeys:
        try:
            return self.run.allocation.signing.trusted_keys()
        except KeyFileError as error:
            raise _infrastructure(str(error)) from error

    def _signing_key(self) -> SigningKey | None:
        """Read the key that signs.

        It is read before the command starts: no finished work is lost for want of it.
        """
        try:
            return self.run.allocation.signing.signing_key()
        except KeyFileError as error:
            raise _infrastructure(str(error)) from error

    def _finish(self, steps: Verification) -> tuple[Marker | None, tuple[FileFault, ...]]:
        """Return an artifact's marker and its faults. Raises StoppedError."""
        return finish(steps, self._go_on)

    def _once(self, lock: KeyLock) -> Result:
        run, spec = self.run, self.spec
        self._prepare()
        self._unmark()
        signing_key = self._signing_key()
        environments = image_environments(run.layout, self.image)
        secrets = read_secrets(run.allocation.secrets, spec.secret_env)
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
            commands = self._commands(attempt, environments, secrets, scratch, reports)
            find_program(spec.command[0], self.image.tree, commands[0].env["PATH"])
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
                    )
                except BaseException:
                    self._unmark()
                    raise
                finally:
                    elapsed = (run.clock.now() - started).total_seconds()
                    self.gpu_seconds += elapsed * spec.resources.gpus
                    progress.close()
                return self._complete(attempt, started, output, signing_key)
            finally:
                output.close()
                remove_tree(scratch)

    def _complete(
        self, attempt: int, started: datetime, output: Output, signing_key: SigningKey | None
    ) -> Result:
        finished = self.run.clock.now()
        if self.output.is_symlink() or not self.output.is_dir():
            kind = self.spec.output_kind
            variable = RESULT_DIR if self.spec.artifact is not None else output_variable(kind)
            raise ArtifactError(
                f"the directory that {variable} names is not there any more; write "
                "into it, and remove or replace no more than what is in it"
            )
        metrics, ignored = read_metrics(self.output)
        warnings = [*self._changed_meanwhile()]
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
        with suppress(NotADirectoryError):  # a command has put a file in the artifact's place
            remove_tree(self.output / MARKER)
            remove_tree(self.output / SIGNATURE)

    def _commands(
        self,
        attempt: int,
        environments: tuple[Path, ...],
        secrets: Mapping[str, str],
        scratch: Path,
        listener: ReportListener,
    ) -> list[RankCommand]:
        spec, nodes = self.spec, self.spec.resources.nodes
        inputs = [path for path in (self.base, self.dataset, self.artifact) if path]
        env = environments[0] if environments else None
        protected = self._protected([self.image.tree, *environments, *inputs])
        gpus, each = self.run.allocation.gpus, spec.resources.gpus // nodes
        port = _free_port()
        scratch.mkdir(parents=True)
        token = scratch / "token"
        write_new(token, listener.token.encode(), 0o600)
        reports = ReportServer(url=listener.url, token=str(token))
        commands = []
        for rank in range(nodes):
            folder = scratch / str(rank)
            for name in ("work", "home", "tmp", "out"):
                (folder / name).mkdir(parents=True)
            own_gpus = gpus[rank * each : (rank + 1) * each]
            variables = {
                **DEFAULTS,
                **reaching_itself(passed_on(self.environ)),
                "PATH": search_path(self.environ, env),
                "HOME": str(folder / "home"),
                "TMPDIR": str(folder / "tmp"),
                **({"VIRTUAL_ENV": str(env)} if env else {}),
                **manifest_variables(spec.env, spec.params),
                **secrets,
                **contract_variables(
                    self._paths(
                        self.output if rank == 0 else folder / "out",
                        scratch=folder / "work",
                        progress=progress_file(scratch, rank),
                    ),
                    Ranks(nodes=nodes, address="127.0.0.1", port=port, rank=rank),
                    kind=spec.output_kind,
                    attempt=attempt,
                    reports=reports,
                ),
                "CUDA_VISIBLE_DEVICES": ",".join(own_gpus),
            }
            commands.append(
                RankCommand(
                    argv=spec.command, cwd=self.image.tree, env=variables, read_only=protected
                )
            )
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

    def _protected(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        if not can_protect(self.image.tree):
            return ()
        # A folder given as data may hold the bucket too; then the output must stay writable.
        writable = (self.output.resolve(), self.run.layout.root.resolve())
        return tuple(
            path
            for path in paths
            if not any(place.is_relative_to(path.resolve()) for place in writable)
        )


def progress_file(scratch: Path, rank: int) -> Path:
    """Return a rank's PROGRESS_FILE, in a folder that is writable."""
    return scratch / str(rank) / "progress.json"


def _explained(name: str, mounted: Mounted, faults: Sequence[FileFault]) -> Reason:
    """Return the reason of an input's faults.

    A signature that is not valid is no loss: what was signed would not come back by making it
    again unasked. Nor is a change of a folder that no task made.
    """
    place = f"the {name} at {mounted.url}"
    unread = next((fault for fault in faults if fault.kind is FaultKind.UNREADABLE), None)
    if unread is not None:
        return Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=f"{place}: {unread}")
    if mounted.external or faults[0].kind is FaultKind.SIGNATURE:
        code = ReasonCode.ARTIFACT_NOT_VERIFIED
        return Reason.of(code, input=name, url=mounted.url, detail=str(faults[0]))
    lost = Reason.of(ReasonCode.ARTIFACT_LOST, input=name, url=mounted.url)
    text = f"the {name} is gone or damaged: {mounted.url}: {faults[0]}"
    return replace(lost, recorded=text)


def _refused(reason: Reason) -> RunFailedError:
    return RunFailedError(reason, FailureClass.INFRASTRUCTURE)


def _infrastructure(detail: str) -> RunFailedError:
    return _refused(Reason.of(ReasonCode.INFRASTRUCTURE_FAILED, detail=detail))


def _have_folder(path: Path) -> None:
    """Make a real folder, replacing anything that a command put there."""
    if path.is_symlink() or not path.is_dir():
        remove_tree(path)
    path.mkdir(parents=True, exist_ok=True)


def _free_port() -> int:
    """Return a port that is free now, for ranks to meet at."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
