"""The runtime without containers: images are source trees, commands processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.engine import (
    DEFAULTS,
    contract_variables,
    manifest_variables,
)
from reconciler.engines.local.build import image_environments
from reconciler.engines.local.environment import passed_on, reaching_itself, search_path
from reconciler.engines.local.fsync import make_read_only, sync_tree
from reconciler.engines.local.isolation import Isolation
from reconciler.engines.local.launch import RankCommand
from reconciler.engines.local.layout import ImageDirectory, path_of
from reconciler.engines.local.mounts import can_protect
from reconciler.engines.local.process_workload import ProcessWorkload
from reconciler.engines.local.program import find_program
from reconciler.engines.local.records import ImageRecord
from reconciler.engines.local.run_context import RunContext
from reconciler.engines.local.runtime import BuildOrder, RankOrder


@dataclass(frozen=True, slots=True)
class ProcessRuntime:
    """Source trees with their virtual environments, and processes."""

    def build(self, order: BuildOrder) -> ImageRecord:
        """Make the environments of a tree, and the tree read-only."""
        # Loads and trainings start without these.
        from reconciler.engines.local.installation import Installation  # noqa: PLC0415
        from reconciler.engines.local.requirements import requirements_of  # noqa: PLC0415

        spec, image = order.run.spec, order.image
        context = spec.build
        assert context is not None
        requirements = requirements_of(image.tree)
        if requirements is not None:
            installation = Installation(order.run, image, order.lock, order.environ, order.uses)
            requirements = installation.provide(requirements)
        make_read_only(image.tree)
        sync_tree(image.path)
        return ImageRecord(
            key=spec.key,
            commit=context.commit,
            tree=context.tree,
            env=requirements.environment(spec.key) if requirements is not None else None,
            project=requirements is not None and requirements.layered,
        )

    def workplace(self, run: RunContext, environ: Mapping[str, str]) -> ProcessWorkplace:
        """Find the tree and the environments of the run's image."""
        image = ImageDirectory(path_of(run.spec.image or "") or Path())
        return ProcessWorkplace(run, image, image_environments(run.layout, image), environ)


@dataclass(frozen=True, slots=True)
class ProcessWorkplace:
    """A source tree, in which processes run."""

    run: RunContext
    image: ImageDirectory
    environments: tuple[Path, ...]
    environ: Mapping[str, str]
    workload: ProcessWorkload = field(default_factory=ProcessWorkload)

    def command(self, order: RankOrder) -> RankCommand:
        """Return a rank's process. Raises CommandError."""
        spec, paths = self.run.spec, order.paths
        env = self.environments[0] if self.environments else None
        inputs = [Path(path) for path in (paths.base, paths.dataset, paths.artifact) if path]
        variables = {
            **DEFAULTS,
            **reaching_itself(passed_on(self.environ)),
            "PATH": search_path(self.environ, env),
            "HOME": str(order.folder / "home"),
            "TMPDIR": str(order.folder / "tmp"),
            **({"VIRTUAL_ENV": str(env)} if env else {}),
            **manifest_variables(spec.env, spec.params),
            **order.secrets,
            **contract_variables(
                paths,
                order.ranks,
                kind=spec.output_kind,
                attempt=order.attempt,
                reports=order.reports,
            ),
            "CUDA_VISIBLE_DEVICES": ",".join(order.gpus),
        }
        find_program(spec.command[0], self.image.tree, variables["PATH"])
        isolation = self._isolation()
        return RankCommand(
            argv=spec.command,
            cwd=self.image.tree,
            env=variables,
            read_only=self._protected(
                [self.image.tree, *self.environments, *inputs], surely=isolation is not None
            ),
            isolation=isolation,
        )

    def _isolation(self) -> Isolation | None:
        run = self.run
        own = (self.image.path, run.run.params, run.layout.scratch(run.spec.name))
        terms = run.allocation.isolation
        return terms.of(run.layout, own, build=False) if terms is not None else None

    def _protected(self, paths: Sequence[Path], *, surely: bool) -> tuple[Path, ...]:
        if not surely and not can_protect(self.image.tree):
            return ()
        # A folder given as data may hold the bucket too; then the output must stay writable.
        output = path_of(self.run.spec.output or "") or Path()
        writable = (output.resolve(), self.run.layout.root.resolve())
        return tuple(
            path
            for path in paths
            if not any(place.is_relative_to(path.resolve()) for place in writable)
        )
