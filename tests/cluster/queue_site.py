"""A cluster with Kueue: of a control plane alone, or with a node that has GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.control_plane import ControlPlane
from tests.cluster.kueue import Kueue
from tests.cluster.node_site import NodeSite
from tests.cluster.process import Program


class QueueSite:
    """``site`` with Kueue on its control plane; ``late``: once a test starts it."""

    def __init__(
        self,
        folder: Path,
        binaries: Mapping[str, Path],
        site: ControlPlane | NodeSite,
        *,
        late: bool = False,
    ) -> None:
        self._site = site
        self._late = late
        plane = site.control_plane if isinstance(site, NodeSite) else site
        self._kueue = Kueue(folder, binaries, plane)

    @property
    def programs(self) -> tuple[Program, ...]:
        return (*self._site.programs, self._kueue)

    async def start(self) -> None:
        await self._site.start()
        if not self._late:
            await self._kueue.start()

    async def stop(self) -> None:
        await self._kueue.remove()
        await self._site.stop()

    def describe(self) -> Mapping[str, Any]:
        return self._site.describe()
