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
    """``site`` with Kueue on its control plane."""

    def __init__(
        self, folder: Path, binaries: Mapping[str, Path], site: ControlPlane | NodeSite
    ) -> None:
        self._site = site
        plane = site.control_plane if isinstance(site, NodeSite) else site
        self._kueue = Kueue(folder, binaries, plane)

    @property
    def programs(self) -> tuple[Program, ...]:
        return (*self._site.programs, self._kueue.program)

    async def start(self) -> None:
        await self._site.start()
        await self._kueue.start()

    async def stop(self) -> None:
        await self._kueue.stop()
        await self._site.stop()

    def describe(self) -> Mapping[str, Any]:
        return self._site.describe()
