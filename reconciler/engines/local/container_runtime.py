"""The runtime of Docker or Podman: images are theirs, commands containers.

A rank's process is the program's own ``run``, attached: its output and its exit code are the
command's, and TERM goes on to it. Killing that process does not end the container. So containers
carry labels, by which :class:`ContainerWorkload` finds, judges and removes them at the end of an
attempt, and the next owner of the key those of a supervisor that was killed.

Commands run as the daemon's user, whatever the image says: their files then are that user's.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engine import (
    BASE,
    DATA,
    DEFAULTS,
    MODEL,
    PARAMS,
    RESULT,
    SCRATCH,
    CommandPaths,
    ReportServer,
    RunPhase,
    RunSpec,
    contract_variables,
    manifest_variables,
)
from reconciler.engines.local.build import container_image, image_gone
from reconciler.engines.local.container_build import build_image
from reconciler.engines.local.container_files import ContainerFiles
from reconciler.engines.local.container_program import (
    ATTEMPT,
    KEY,
    RANK,
    ROOT,
    RUN,
    ContainerProgram,
    ImageInfo,
    LocalContainer,
    end_containers,
    root_name,
)
from reconciler.engines.local.container_pull import pull
from reconciler.engines.local.container_terms import ContainerTerms, Program
from reconciler.engines.local.environment import passed_on, reaching_itself
from reconciler.engines.local.failures import (
    CommandError,
    ContainerError,
    RunFailedError,
    SecretError,
)
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.layout import ImageDirectory, RootLayout, path_of
from reconciler.engines.local.process_workload import machine_oom_kills
from reconciler.engines.local.records import ImageRecord
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.runtime import BuildOrder, RankOrder
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Kind, TaskKind

#: A rank's own folder, with its PROGRESS_FILE, and the token of its reports.
_OWN, _TOKEN = "/.reconciler", "/.reconciler-reports/token"
#: The exit code of a command of which SIGKILL ended the last process.
_KILLED = 128 + 9
#: Secrets get into a container by the program's own environment, so they cannot be named as what
#: the program itself reads.
_PROGRAMS_OWN = re.compile(
    r"PATH|HOME|TMPDIR|(DOCKER|CONTAINERS|BUILDAH|BUILDKIT|BUILDX|PODMAN|LD|XDG|DBUS)_.*|"
    r"CONTAINER_(HOST|SSHKEY|PROXY|CONNECTION)|SSH_AUTH_SOCK|REGISTRY_AUTH_FILE|"
    r"STORAGE_(DRIVER|OPTS)|GO(DEBUG|TRACEBACK|MAXPROCS|MEMLIMIT|GC)"
)
#: Of the daemon's variables a command gets the proxies, but no path of this machine.
_OF_THIS_MACHINE = re.compile(r".*_(FILE|DIR|BUNDLE|CAINFO|CERTS)|LANG|LC_.*")


@dataclass(frozen=True, slots=True)
class ContainerRuntime:
    """Images and containers of one program."""

    terms: ContainerTerms

    def build(self, order: BuildOrder) -> ImageRecord:
        """Build the image by the source's own Dockerfile."""
        return build_image(order, self.terms)

    def workplace(self, run: RunContext, environ: Mapping[str, str]) -> ContainerWorkplace:
        """Find or pull the image; end what is left of the key."""
        program = ContainerProgram(self.terms.program, environ)
        end_containers(program, {ROOT: str(run.layout.root), KEY: run.spec.key})
        image, built = run.spec.image or "", path_of(run.spec.image or "")
        if built is None:
            found = program.image(image) or _pulled(run, program, image)
            return ContainerWorkplace(run, self.terms, program, found, environ)
        folder = ImageDirectory(built)
        own = program.image(container_image(folder))
        if own is None:
            # Somebody has removed it there. Without its record it is built again.
            folder.record.unlink(missing_ok=True)
            raise image_gone(str(built))
        return ContainerWorkplace(run, self.terms, program, own, environ)


def _pulled(run: RunContext, program: ContainerProgram, image: str) -> ImageInfo:
    if run.state.phase is RunPhase.PENDING:
        run.save(run.state.because(Reason.of(ReasonCode.PULLING_IMAGE, image=image)))
    pull(run, program, image)
    found = program.image(image)
    if found is None:
        raise ContainerError(f"{program.name} has pulled {image} and does not have it")
    return found


@dataclass(slots=True)
class ContainerWorkload:
    """The containers of one attempt; ``states`` is their end, by rank.

    ``kills`` counts those of the machine's processes for want of memory at the begin.
    """

    of: ContainerProgram
    image: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    states: dict[int, LocalContainer] = field(default_factory=dict)
    kills: int = field(default_factory=machine_oom_kills)

    @property
    def program(self) -> Program:
        """The program's name."""
        return self.of.name

    def end(self) -> None:
        """End and remove all containers. Raises StillRunningError."""
        for state in end_containers(self.of, {ATTEMPT: self.token}):
            self.states[int(state.labels.get(RANK) or 0)] = state

    def starved(self) -> bool:
        """Return whether a container has reached its limit of memory.

        Podman sees that of a container's first process alone.
        """
        if any(state.starved for state in self.states.values()):
            return True
        killed = any(state.code == _KILLED for state in self.states.values())
        return killed and machine_oom_kills() > self.kills

    def refused(self, rank: int, last: str) -> RunFailedError | None:
        """Return the failure of one that did not start, or was lost."""
        state = self.states.get(rank)
        if state is None:
            if self.of.image(self.image) is None:
                return image_gone(self.image)
            return ContainerError(f"{self.program} could not create the container: {last}")
        if not state.started:
            return ContainerError(
                f"{self.program} could not start the container: {state.error or last}"
            )
        if state.running or state.code == 0:
            return ContainerError(
                f"{self.program} has lost its connection to the container: {last}"
            )
        return None


@dataclass(slots=True)
class ContainerWorkplace:
    """An image on this machine, in which a run's containers are started."""

    run: RunContext
    terms: ContainerTerms
    program: ContainerProgram
    image: ImageInfo
    environ: Mapping[str, str]
    workload: ContainerWorkload = field(init=False)
    _entrypoint: str = ""

    def __post_init__(self) -> None:
        self.workload = ContainerWorkload(self.program, self.image.id)

    def command(self, order: RankOrder) -> RankCommand:
        """Return the program's ``run`` of a rank. Raises RunFailedError."""
        spec = self.run.spec
        for name in order.secrets:
            if _PROGRAMS_OWN.fullmatch(name):
                raise SecretError(
                    f"a container's secret cannot have the name {name}, which is one of "
                    f"{self.program.name}'s own variables"
                )
        if spec.resources.nodes > 1 and self.terms.network != "host":
            detail = f"several nodes need local.network: host, found {self.terms.network}"
            raise CommandError(ReasonCode.RUN_REFUSED, detail=detail)
        if not self._entrypoint:
            self._entrypoint = self._find_program(spec.command[0])
        variables = {
            **{name: v for name, v in DEFAULTS.items() if name not in self.image.env},
            **self._own_variables(order),
        }
        # Secrets, and proxies with their passwords, are in no argument.
        given = {**self.program.variables, **order.secrets}
        argv = (
            self.program.path,
            "run",
            f"--name={container_name(spec, self.run.layout)}-{order.number}",
            *self._labels(),
            f"--label={ATTEMPT}={self.workload.token}",
            f"--label={RANK}={order.number}",
            "--pull=never",
            "--init",
            "--log-driver=none",
            f"--network={self.terms.network}",
            *_limits(spec, self.terms),
            *_rights(self.terms),
            *_gpus(order.gpus, self.terms),
            *_mounts(self._mounted(order)),
            *(
                # By their names alone: the program takes the values from its environment.
                f"--env={name}" if given.get(name) == value else f"--env={name}={value}"
                for name, value in variables.items()
            ),
            f"--entrypoint={self._entrypoint}",
            self.image.id,
            *spec.command[1:],
        )
        return RankCommand(
            argv=argv,
            cwd=order.folder,
            env=given,
            said=spec.command,
        )

    def _labels(self) -> list[str]:
        spec, layout = self.run.spec, self.run.layout
        labels = {
            "app.kubernetes.io/managed-by": "reconciler",
            ROOT: str(layout.root),
            RUN: spec.name,
            KEY: spec.key,
        }
        return [f"--label={name}={value}" for name, value in labels.items()]

    def _find_program(self, name: str) -> str:
        files = ContainerFiles(
            self.program, self.image, [*self._labels(), f"--label={ATTEMPT}={self.workload.token}"]
        )
        with files:
            return files.find_program(name)

    def _own_variables(self, order: RankOrder) -> dict[str, str]:
        spec = self.run.spec
        passed = {
            name: value
            for name, value in reaching_itself(passed_on(self.environ)).items()
            if not _OF_THIS_MACHINE.fullmatch(name)
        }
        # Root has one in the image.
        home = {} if self.terms.user.startswith("0:") else {"HOME": f"{_OWN}/home"}
        # What has no GPU gets none, even of a machine whose containers all would get some.
        hidden = {} if order.gpus else {"NVIDIA_VISIBLE_DEVICES": "void"}
        return {
            **passed,
            **home,
            **manifest_variables(spec.env, spec.params),
            **order.secrets,
            **self._contract(order),
            **hidden,
        }

    def _contract(self, order: RankOrder) -> dict[str, str]:
        spec, paths = self.run.spec, order.paths
        reports = None
        if self.terms.network == "host":
            reports = ReportServer(url=order.reports.url, token=_TOKEN)
        inside = CommandPaths(
            output=_output(spec),
            params=PARAMS,
            progress=f"{_OWN}/{Path(paths.progress).name}",
            scratch=SCRATCH,
            base=BASE if paths.base else None,
            dataset=DATA if paths.dataset else None,
            artifact=MODEL if paths.artifact else None,
        )
        return contract_variables(
            inside, order.ranks, kind=spec.output_kind, attempt=order.attempt, reports=reports
        )

    def _mounted(self, order: RankOrder) -> list[tuple[str, str, bool]]:
        """Return the mounts: of this machine, in the container, and whether read-only."""
        paths = order.paths
        mounts: list[tuple[str | None, str, bool]] = [
            (str(order.folder), _OWN, False),
            (order.reports.token, _TOKEN, True),
            (paths.params, PARAMS, True),
            (paths.scratch, SCRATCH, False),
            (paths.base, BASE, True),
            (paths.dataset, DATA, True),
            (paths.artifact, MODEL, True),
            (paths.output, _output(self.run.spec), False),
        ]
        return [(source, target, kept) for source, target, kept in mounts if source]


def container_name(spec: RunSpec, layout: RootLayout) -> str:
    """Return the name of a key's containers, without the rank.

    No second container can get it while there is one.
    """
    return f"{spec.name.rpartition('-')[0]}-{root_name(layout.root)}"


def _output(spec: RunSpec) -> str:
    if spec.task is TaskKind.EVALUATE:
        return RESULT
    return DATA if spec.output_kind is Kind.DATASET else MODEL


def _limits(spec: RunSpec, terms: ContainerTerms) -> list[str]:
    """Return the limits of one rank. That of memory includes swap."""
    resources = spec.resources
    found = []
    # More than there are would be refused.
    if resources.cpu is not None and resources.cpu < terms.cpus:
        found.append(f"--cpus={max(resources.cpu, 0.01):g}")
    if resources.memory is not None:
        found += [f"--memory={resources.memory}b", f"--memory-swap={resources.memory}b"]
    if resources.shm is not None:
        found.append(f"--shm-size={resources.shm}b")
    return found


def _rights(terms: ContainerTerms) -> list[str]:
    return [
        f"--user={terms.user}",
        "--security-opt=no-new-privileges",
        # SELinux would keep a container from files without its label.
        "--security-opt=label=disable",
        # A file that was given to another user inside is not the daemon's to remove.
        *(["--cap-drop=CHOWN"] if terms.rootless else []),
    ]


def _gpus(gpus: tuple[str, ...], terms: ContainerTerms) -> list[str]:
    if not gpus:
        return []
    if terms.program == "podman":
        return [f"--device=nvidia.com/gpu={gpu}" for gpu in gpus]
    # The value is a line of CSV, of which the quoted field has commas.
    return [f'--gpus="device={",".join(gpus)}"']


def _mounts(mounts: list[tuple[str, str, bool]]) -> list[str]:
    return [f"--mount={_mount(*each)}" for each in mounts]


def _mount(source: str, target: str, read_only: bool) -> str:
    fields = ["type=bind", f"source={source}", f"target={target}"]
    fields += ["readonly"] if read_only else []
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
