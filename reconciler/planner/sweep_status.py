"""The status of a sweep's variants. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.planner.entry_params import kept_params
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import VariantStatus
from reconciler.planner.phases import DONE_TASKS, TaskPhase
from reconciler.planner.plan import TaskAction
from reconciler.planner.sweeps import failure_reason, is_failed, variant_metrics
from reconciler.planner.tasks import ResolvedObject
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import TaskKind


def variant_statuses(
    item: ResolvedObject, actions: Iterable[TaskAction], ledger: Ledger
) -> tuple[VariantStatus, ...]:
    """Return the state of each variant, in the order of the manifest."""
    decided = {action.task.key: action for action in actions}
    found = []
    for variant in item.variants:
        key = variant.task.key
        action, complete = decided.get(key), ledger.result(key)
        if key is None or action is None:
            continue
        told = action.phase not in DONE_TASKS
        made = complete is not None and variant_metrics(variant.task, ledger) is not None
        found.append(
            VariantStatus(
                key=key,
                params=kept_params(variant.params),
                phase=action.phase,
                reason=action.reason.code.value if told else "",
                message=message(action.reason) if told else "",
                metrics=complete.result.metrics if made and complete else {},
                artifact=complete.result.url if made and complete else None,
            )
        )
    return tuple(found)


def without_failed_variants(
    item: ResolvedObject, actions: Sequence[TaskAction]
) -> Sequence[TaskAction]:
    """Return the actions that decide an object's phase.

    A failed variant is no failure of its sweep.
    """
    if item.sweep is None:
        return actions
    keys = {variant.task.key for variant in item.variants}
    return [a for a in actions if a.phase is not TaskPhase.FAILED or a.task.key not in keys]


def variants_running(item: ResolvedObject, running: TaskAction) -> Reason:
    """Return the reason of an object whose task runs.

    Of a sweep it counts the variants.
    """
    sweep, plain = item.sweep, running.reason.code is ReasonCode.RUNNING
    if sweep is None or sweep.unknown is None or not plain or running.task.kind is TaskKind.BUILD:
        return running.reason
    return sweep.unknown


def variants_failed(item: ResolvedObject, ledger: Ledger) -> Reason | None:
    """Return the reason of the condition of failed variants."""
    sweep = item.sweep
    failed = [v.task for v in item.variants if is_failed(v.task, ledger)]
    if sweep is None or not failed:
        return None
    return Reason.of(
        ReasonCode.VARIANTS_FAILED,
        failed=len(failed),
        total=len(sweep.variants),
        cause=failure_reason(failed[0], ledger),
    )
