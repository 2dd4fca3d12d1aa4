"""A daemon to be killed: it carries a fixed list of runs out on a root and ends.

``python -m tests.engines.local.victim FOLDER``. It has no memory: what is complete it finds by
its marker, what failed by its run.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from reconciler.engine import RunPhase, RunSpec, Wanted
from reconciler.engines.local import LocalEngine
from reconciler.types import TaskKind
from tests.engines.local.bench import Bench, until

RUNS = 36
#: Every third command fails at each attempt and is allowed two.
FAILING = range(0, RUNS, 3)


async def produce(engine: LocalEngine, bench: Bench, spec: RunSpec) -> None:
    """See one run to its end, and forget it once its artifact is complete."""
    wanted = [Wanted(spec.task, spec.key, spec.output)]
    if not await engine.recover(wanted):
        run = await bench.complete(engine, spec)
        if run.phase is RunPhase.FAILED:
            return
    await engine.delete(spec.name)
    await until(lambda: spec.name not in engine.runs())


async def main(folder: Path) -> None:
    bench = Bench(folder)
    async with bench.engine(slots=3) as engine:
        sys.stdout.write("started\n")
        sys.stdout.flush()
        await until(lambda: not any(run.deleting for run in engine.runs().values()))
        build = bench.build_spec(folder / "source-0")
        if not await engine.recover([Wanted(TaskKind.BUILD, build.key, None)]):
            await bench.complete(engine, build)
        image = (bench.root / "images" / build.key).resolve().as_uri()
        async with asyncio.TaskGroup() as group:
            for n in range(RUNS):
                failing = n in FAILING
                spec = bench.spec(
                    image,
                    f"run-{n}",
                    params={"n": n, "fail": failing},
                    env={"RAN": str(folder / "ran")},
                    retries=1 if failing else 0,
                )
                group.create_task(produce(engine, bench, spec))
                await asyncio.sleep(0.005)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
