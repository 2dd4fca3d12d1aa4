"""Removal of containers and images that nothing names any more.

A supervisor removes the containers of its run, and the next owner of a key those of a supervisor
that was killed. What neither finds, a container that its program made while it was being killed, is
swept. A build's image goes with its folder (:mod:`.collection`): the sweep removes the tags of
those that have none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from reconciler.engines.local import state as states
from reconciler.engines.local.build import image_result
from reconciler.engines.local.container_build import repository
from reconciler.engines.local.container_program import (
    ROOT,
    RUN,
    ContainerProgram,
)
from reconciler.engines.local.container_terms import ContainerTerms, Program
from reconciler.engines.local.failures import ContainerError
from reconciler.engines.local.layout import RootLayout
from reconciler.engines.local.locks import FileLock, is_locked

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """The configuration of containers: their program and their network."""

    program: Program
    network: str = "host"

    def terms(self) -> ContainerTerms:
        """Ask the program for the machine. Raises ContainerError with what to do."""
        try:
            return ContainerProgram(self.program).terms(self.network)
        except ContainerError as error:
            raise ContainerError(f"local.runtime: {self.program}, but {error.detail}") from error


@dataclass(frozen=True, slots=True)
class ContainerSweep:
    """The removal of unused containers and images under a root.

    An error is logged, and ends nothing.
    """

    layout: RootLayout
    name: Program

    def all(self) -> None:
        """Remove containers, then images."""
        self.containers()
        self._carefully(self._images)

    def containers(self) -> None:
        """Remove the containers of runs that have ended or are gone."""
        self._carefully(self._containers)

    def _carefully(self, sweep: Callable[[ContainerProgram], None]) -> None:
        try:
            sweep(ContainerProgram(self.name))
        except (ContainerError, OSError) as error:
            _log.warning("unused containers or images stay", error=str(error))

    def _containers(self, program: ContainerProgram) -> None:
        found = program.containers({ROOT: str(self.layout.root)})
        left = [each.id for each in found if self._is_over(each.labels.get(RUN, ""))]
        program.remove(left)
        if left:
            _log.info("containers of runs that are over were removed", count=len(left))

    def _is_over(self, name: str) -> bool:
        run = self.layout.run(name)
        if not name or not run.path.exists():
            return True
        with suppress(OSError, ValueError):
            state = states.read(run.state)
            return state is not None and state.ended and not is_locked(run.lock)
        return False

    def _images(self, program: ContainerProgram) -> None:
        own = repository(self.layout.root)
        for key in program.tags(own):
            # Held by a build of it, which makes its image before the record.
            lock = FileLock.take(self.layout.key_lock(key))
            if lock is None:
                continue
            try:
                if image_result(self.layout.image(key), containers=True) is None:
                    program.untag(f"{own}:{key}")
                    _log.info("an unused container image was removed", key=key)
                    self.layout.key_lock(key).unlink(missing_ok=True)
            finally:
                lock.release()
