"""Any number of objects, each with the most series that it can have."""

from __future__ import annotations

from dataclasses import replace

from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phases import URGENCY
from reconciler.planner.plan import Plan
from reconciler.types import Kind, ObjectRef
from tests.planner.world import World

MODEL = """\
kind: Model
metadata: {name: model}
spec:
  source: {git: {url: ., path: src}}
  training: {params: {epochs: %d}, resources: {gpu: {type: nvidia-l4, count: 1}}}
"""


def many(count: int) -> tuple[Plan, dict[ObjectRef, ObjectStatus]]:
    """A plan and the records of that many, in every phase: three tasks, an artifact, a GPU each."""
    world = World(files={"model.yaml": MODEL % 3})
    world.settle(_done)
    world.files["model.yaml"] = MODEL % 4
    world.sync()
    (run,) = (run for run in world.runs.values() if run.live)
    world.start(run.name)
    plan = world.sync()
    (record,) = world.records.values()
    refs = [ObjectRef(Kind.MODEL, f"team-{n % 3}", f"model-{n:05}") for n in range(count)]
    records = {
        ref: replace(record, ref=ref, phase=URGENCY[number % len(URGENCY)])
        for number, ref in enumerate(refs)
    }
    now = world.runs[run.name]
    runs = {
        f"{now.name}-{number}": replace(now, name=f"{now.name}-{number}", object=ref)
        for number, ref in enumerate(refs)
    }
    (item,) = plan.inputs.desired.values()
    shown = list(plan.decisions)
    decided = {ref: tuple(replace(d, ref=ref) for d in shown) for ref in refs}
    desired = dict.fromkeys(refs, item)
    inputs = replace(plan.inputs, runs=runs, records=records, desired=desired)
    return replace(plan, inputs=inputs, decided=decided), records


def _done(world: World, run: str) -> None:
    world.start(run)
    world.succeed(run)
