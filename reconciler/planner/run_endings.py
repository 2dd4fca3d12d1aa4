"""The records of runs that a plan ends. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.plan import Plan, RunDeletion
from reconciler.planner.spending import RunPricing, with_spent
from reconciler.planner.status_history import HistoryUpdate, extended
from reconciler.types import ObjectRef, TaskKind


def records_before_endings(plan: Plan) -> dict[ObjectRef, ObjectStatus]:
    """Return records with the cost of the runs that a plan ends.

    They are written first: a daemon that is killed after it has ended a run, and before that is
    recorded, would forget the cost. Without prices there are none.
    """
    known = plan.inputs.records
    if not plan.inputs.settings.prices:
        return {}
    found = {}
    for ref, deletions in endings_by_payer(plan, paying_objects(plan)).items():
        if ref in known and any(end.run.live and end.run.started for end in deletions):
            entries = history_of_endings(plan, known[ref], deletions).replaced()
            if entries:
                found[ref] = replace(
                    known[ref],
                    history=extended(known[ref].history, entries, plan.inputs.ledger, None),
                    spent=with_spent(
                        known[ref].spent, entries, plan.inputs.now, before=known[ref].history
                    ),
                )
    return found


def paying_objects(plan: Plan) -> Mapping[str, ObjectRef]:
    """Map the run of each build to the object that pays it.

    Of the objects that share it, that is one.
    """
    payers: dict[str, ObjectRef] = {}
    for ref in (*plan.decided, *sorted(plan.removed)):
        record = plan.inputs.records.get(ref)
        for task in record.tasks if record is not None else ():
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


def history_of_endings(
    plan: Plan, known: ObjectStatus, replaced: Sequence[RunDeletion]
) -> HistoryUpdate:
    """Return the update of a history by runs that are ended alone."""
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
        endings=replaced,
        pricing=RunPricing(inputs.settings.prices, known.tasks),
        now=inputs.now,
    )
