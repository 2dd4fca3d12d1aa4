"""Catalogs as a sync leaves them, from manifests that the real planner has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.planner.phases import URGENCY
from reconciler.types import Kind, ObjectRef, Problem
from reconciler.web.snapshot import Catalog
from tests.planner.world import World, finetune, scratch


def world(**files: str) -> World:
    """Objects by name; each file is called like its object."""
    return World(files={f"{name}.yaml": text for name, text in files.items()})


def catalog(of: World, problems: Sequence[Problem] = ()) -> Catalog:
    """What the page knows after one more sync."""
    plan = of.sync()
    return Catalog(plan, dict(of.records), problems)


def fleet(size: int) -> Catalog:
    """That many models of one base, in every phase and three namespaces, with long reasons."""
    small = world(base=scratch("base"), model=finetune("model", "base"))
    small.settle()
    known = catalog(small)
    base, model = sorted(known.records)
    desired = dict(known.plan.inputs.desired)
    records = {base: known.records[base]}
    for number in range(size - 1):
        ref = ObjectRef(Kind.MODEL, f"team-{number % 3}", f"model-{number:05}")
        phase = URGENCY[number % len(URGENCY)]
        records[ref] = replace(known.records[model], ref=ref, phase=phase, message="why? " * 200)
        desired[ref] = desired[model]
    del desired[model]
    plan = known.plan
    inputs = replace(plan.inputs, desired=desired, records=records)
    shown = list(plan.decisions)
    decided = {ref: tuple(d for d in shown if d.ref == ref) for ref in desired}
    return Catalog(replace(plan, inputs=inputs, decided=decided), records, ())
