"""The best variant of a sweep, whose artifact is the object's. Pure.

It is chosen once each variant is complete or failed, of those that have the metric. Until then the
key of the object is unknown, and so are those of what is made from it: a dependent that started
with the best of the first three would start again with each better one.
"""

from __future__ import annotations

import math
from dataclasses import replace

from reconciler.planner.ledger import Ledger
from reconciler.planner.retry_policy import Failure
from reconciler.planner.tasks import ResolvedObject, Sweep, Task, Variant
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Metrics, TaskKey, TaskKind

#: A variant's key, its metrics once it is complete, and whether it has failed for good.
VariantOutcome = tuple[TaskKey | None, Metrics | None, bool]


def outcomes(item: ResolvedObject | None, ledger: Ledger) -> tuple[VariantOutcome, ...]:
    """Return what a sweep's choice depends on, beside its manifest."""
    found = item.variants if item is not None else ()
    return tuple(
        (v.task.key, variant_metrics(v.task, ledger), is_failed(v.task, ledger)) for v in found
    )


def variant_metrics(task: Task, ledger: Ledger) -> Metrics | None:
    """Return the metrics of a complete variant; None of another."""
    complete = ledger.result(task.key)
    if complete is None or complete.task is not TaskKind.TRAIN:
        return None
    return complete.result.metrics


def is_failed(task: Task, ledger: Ledger) -> bool:
    """Return whether a variant has failed, and is not run again."""
    failure = _failure(task, ledger)
    return failure is not None and failure.remembered and variant_metrics(task, ledger) is None


def failure_reason(task: Task, ledger: Ledger) -> Reason:
    """Return the reason for which a variant has failed."""
    failure = _failure(task, ledger)
    return failure.reason if failure is not None else Reason.of(ReasonCode.UNKNOWN)


def _failure(task: Task, ledger: Ledger) -> Failure | None:
    return ledger.failure(task.key, task.execution_hash) if task.key is not None else None


def with_best(item: ResolvedObject, ledger: Ledger) -> ResolvedObject:
    """Give a sweep the key of its best variant, once known."""
    sweep = item.sweep
    if sweep is None:
        return item
    found = [(variant, variant_metrics(variant.task, ledger)) for variant in sweep.variants]
    complete = [(variant, metrics) for variant, metrics in found if metrics is not None]
    sweep = replace(
        sweep,
        complete=len(complete),
        failed=sum(is_failed(variant.task, ledger) for variant in sweep.variants),
    )
    best, unknown = None, _unchosen(sweep, ledger)
    if unknown is None and sweep.best is not None:
        best = _best(sweep.best.metric, complete, largest=sweep.best.goal == "maximize")
        if best is None:
            unknown = Reason.of(ReasonCode.BEST_METRIC_MISSING, metric=sweep.best.metric)
    sweep = replace(sweep, unknown=unknown)
    if best is None:
        return replace(item, sweep=sweep)
    return replace(item, sweep=sweep, key=best.task.key, request_hash=best.task.request_hash)


def _unchosen(sweep: Sweep, ledger: Ledger) -> Reason | None:
    """Return the reason if no variant can be chosen."""
    total = len(sweep.variants)
    if not sweep.ended:
        return Reason.of(
            ReasonCode.VARIANTS_INCOMPLETE,
            complete=sweep.complete,
            failed=sweep.failed,
            total=total,
        )
    if not sweep.complete:
        cause = failure_reason(sweep.variants[0].task, ledger)
        return Reason.of(ReasonCode.ALL_VARIANTS_FAILED, total=total, cause=cause)
    return Reason.of(ReasonCode.BEST_NOT_CHOSEN) if sweep.best is None else None


def _best(metric: str, complete: list[tuple[Variant, Metrics]], *, largest: bool) -> Variant | None:
    """Return the variant with the best metric.

    Of equal ones it is that with the least key.
    """
    having = [
        (-value if largest else value, variant.task.key or "", variant)
        for variant, metrics in complete
        if (value := metrics.get(metric)) is not None and math.isfinite(value)
    ]
    return min(having, key=lambda each: each[:2])[2] if having else None
