"""Runs that no commit asks for, beside those of the daemon.

Such a run has a name of its own, so that no daemon adopts it as one that its commit asks for, and
the marker of what it makes says ``local``. A run ends with its try: the next start of the engine
ends one that a killed try has left. Its artifact stays, and a run that a commit asks for with the
same key finds it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.engine import Capacity, Collected, Engine, Result, Run, RunSpec, Wanted
from reconciler.engines.local.control import poke
from reconciler.engines.local.marker import LOCAL
from reconciler.types import BucketSource, DataListing, TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.engines.local.engine import LocalEngine
    from reconciler.engines.local.run_store import RunRecord, RunStore

_PREFIX = "try-"


def is_try(name: str) -> bool:
    """Return whether a run is a try's."""
    return name.startswith(_PREFIX)


def try_name(run: str) -> str:
    """Return the name of a run as a try's."""
    return f"{_PREFIX}{run}"


def end_tries(store: RunStore, records: Iterable[RunRecord]) -> None:
    """End the runs of tries that were killed. Raises OSError."""
    for record in records:
        if is_try(record.spec.name) and not record.deleting:
            store.cancel(record)
            record.deleting = True
            poke(record.directory.control)


class TryEngine(Engine):
    """The local engine as a try uses it.

    Runs of the keys in ``committed`` are those of a sync, and a later one takes them over. All
    others are the try's alone. To the planner both have the names of a sync's.
    """

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self.committed: AbstractSet[TaskKey] = frozenset()
        #: The keys that the try needs: it looks at the runs of no other.
        self.wanted: AbstractSet[TaskKey] = frozenset()

    @property
    def capacity(self) -> Capacity:
        """The engine's limits."""
        return self._engine.capacity

    async def start(self, changed: Callable[[], None]) -> None:
        """Start the engine. Raises EngineError."""
        await self._engine.start(changed)

    async def stop(self) -> None:
        """Stop the engine; runs of a sync go on."""
        await self._engine.stop()

    def runs(self) -> Mapping[str, Run]:
        """Return the runs of the wanted keys."""
        tries = {n.removeprefix(_PREFIX): run for n, run in self._engine.tries().items()}
        found = {**self._engine.runs(), **tries}
        return {
            name: replace(run, name=name) for name, run in found.items() if run.key in self.wanted
        }

    async def create(self, spec: RunSpec) -> None:
        """Create a run, of the try or of a sync. Raises EngineError."""
        if spec.key not in self.committed:
            lineage = {**spec.lineage, LOCAL: True}
            spec = replace(spec, name=try_name(spec.name), lineage=lineage)
        await self._engine.create(spec)

    async def delete(self, name: str) -> None:
        """End a run of the try alone. Raises EngineError."""
        if try_name(name) in self._engine.tries():
            await self._engine.delete(try_name(name))

    async def forget(self) -> bool:
        """Remove the runs of the try; true once none is left.

        Raises EngineError.
        """
        names = list(self._engine.tries())
        for name in names:
            await self._engine.delete(name)
        return not names

    async def recover(self, wanted: Iterable[Wanted]) -> Mapping[TaskKey, Result]:
        """Search for results on disk."""
        return await self._engine.recover(wanted)

    async def lost(self, artifacts: Iterable[Wanted]) -> frozenset[TaskKey]:
        """Return the keys of artifacts that are gone or damaged."""
        return await self._engine.lost(artifacts)

    async def verify(self, artifact: Wanted) -> bool | None:
        """Compare an artifact with its marker."""
        return await self._engine.verify(artifact)

    async def list_data(self, source: BucketSource) -> DataListing:
        """List a folder. Raises EngineError."""
        return await self._engine.list_data(source)

    async def collect(self, images: AbstractSet[str]) -> Sequence[Collected]:
        """Remove nothing: what a try needs is not all that objects need."""
        del images
        return ()
