"""Runs that a plan ends: their payers and advance records. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.plan import Plan, RunDeletion
from reconciler.planner.spending import RunPricing
from reconciler.planner.status_history import HistoryUpdate
from reconciler.types import ObjectRef, TaskKind


def announced_endings(plan: Plan) -> dict[ObjectRef, ObjectStatus]:
    """Return the changed records that name the runs to end.

    They are written before the plan is applied, for runs that have cost something.
    """
    found = {}
    for ref, endings in endings_by_payer(plan, payers_of(plan)).items():
        known = plan.inputs.records.get(ref)
        costly = [each for each in endings if each.costly]
        if known is not None and costly:
            ending = recorded_history(plan, known).ending_runs(costly)
            if ending != known.ending:
                found[ref] = replace(known, ending=ending)
    return found


def recorded_history(
    plan: Plan, known: ObjectStatus, replaced: Sequence[RunDeletion] = ()
) -> HistoryUpdate:
    """Return the update of a history from the record alone.

    A gate that would have judged what was made is not known, so its verdict is still to be given.
    """
    inputs = plan.inputs
    return HistoryUpdate(
        before=known.history,
        tasks=(),
        recorded=known.tasks,
        ended={each.run.name: each.run for each in replaced if not each.run.live},
        ledger=inputs.ledger,
        commit=known.manifest.commit if known.manifest else None,
        image=lambda _: None,
        judged=None,
        gated=True,
        replaced=replaced,
        ending=known.ending,
        runs=inputs.runs,
        pricing=RunPricing(inputs.settings.prices, known.tasks, known.ending),
        now=inputs.now,
        removed=known.ref in plan.removed,
    )


def payers_of(plan: Plan) -> Mapping[str, ObjectRef]:
    """Map the run of each build to the object that pays it.

    Of the objects that share it, that is one.
    """
    payers: dict[str, ObjectRef] = {}
    for ref in (*plan.decided, *sorted(plan.removed)):
        record = plan.inputs.records.get(ref)
        if record is None:
            continue
        for each in record.ending:
            if each.entry.task is TaskKind.BUILD:
                payers[each.job] = ref
        for task in record.tasks:
            if task.task is TaskKind.BUILD and task.job is not None:
                payers.setdefault(task.job, ref)
    return payers


def endings_by_payer(
    plan: Plan, payers: Mapping[str, ObjectRef]
) -> Mapping[ObjectRef, Sequence[RunDeletion]]:
    """Return the deletions of runs by the object that pays them."""
    found: dict[ObjectRef, list[RunDeletion]] = {}
    for deletion in plan.endings:
        payer = deletion.run.object or payers.get(deletion.run.name)
        if payer is not None:
            found.setdefault(payer, []).append(deletion)
    return found
