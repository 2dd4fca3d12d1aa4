from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.engine import Run, RunPhase, RunSpec
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.engine import KubernetesEngine, Render
from tests.cluster.fixtures import Namespace
from tests.engines.kubernetes.container import Container, need_busybox
from tests.engines.kubernetes.orders import INSTANCE, bare_job, order
from tests.engines.kubernetes.specs import settings_of
from tests.patience import PATIENCE


class Watched:
    """An engine, and how to wait for what it sees."""

    def __init__(self, engine: KubernetesEngine) -> None:
        self.engine = engine
        self.event = asyncio.Event()

    async def until(self, condition: Callable[[Mapping[str, Run]], bool]) -> Mapping[str, Run]:
        """The runs, once they are so."""
        async with asyncio.timeout(PATIENCE):
            while not condition(self.engine.runs()):
                self.event.clear()
                await self.event.wait()
        return self.engine.runs()

    async def ordered(self, namespace: Namespace) -> RunSpec:
        """A run that is created, of a training of a Model."""
        spec = order(namespace.name)
        await self.engine.create(spec)
        return spec

    async def comes_to(self, spec: RunSpec, phase: RunPhase) -> Run:
        """The run, once it is in this phase."""
        runs = await self.until(lambda runs: runs[spec.name].phase is phase)
        return runs[spec.name]


@asynccontextmanager
async def engine_at(
    namespace: Namespace,
    *,
    may_write: Callable[[], bool] = lambda: True,
    kubeconfig: Path | None = None,
    render: Render = bare_job,
    everywhere: bool = False,
) -> AsyncIterator[Watched]:
    """An engine that looks at one namespace, or at all of them, for as long as the block."""
    api = await Api.connect(kubeconfig=str(kubeconfig or namespace.cluster.kubeconfig))
    engine = KubernetesEngine(
        api,
        instance=INSTANCE,
        render=render,
        namespaces=() if everywhere else (namespace.name,),
        may_write=may_write,
    )
    watched = Watched(engine)
    await engine.start(watched.event.set)
    try:
        yield watched
    finally:
        await engine.stop()


@pytest.fixture
async def watched(namespace: Namespace) -> AsyncIterator[Watched]:
    async with engine_at(namespace) as watched:
        yield watched


MakeContainer = Callable[..., Container]


@pytest.fixture
def pod(tmp_path: Path) -> MakeContainer:
    """Make a container of a new pod on the same bucket; keywords steer it."""
    need_busybox()
    numbers = itertools.count(1)
    bucket = tmp_path / "bucket" / "key"

    def make(
        *, env: dict[str, str] | None = None, staged: bool = False, **steer: object
    ) -> Container:
        place = tmp_path / f"pod-{next(numbers)}"
        stage = place / "saved" if staged else None
        return Container(place, bucket, stage, dict(env or {}), steer)

    return make


@pytest.fixture
def settings(tmp_path: Path) -> ClusterSettings:
    """Those of a configuration that says only what it must."""
    return settings_of(tmp_path)
