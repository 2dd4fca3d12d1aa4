"""The table of a sweep's variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.planner import ObjectStatus, TaskStatus, VariantStatus
from reconciler.review import format_number, format_value, is_best, variant_columns

#: Rows of variants; a matrix has at most 256.
ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRow:
    """A variant, its task, and the cells of params and metrics."""

    variant: VariantStatus
    task: TaskStatus | None
    best: bool
    params: tuple[str, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSweep:
    """The variants of an object, and its other tasks.

    ``more`` variants have no row.
    """

    params: Sequence[str]
    metrics: Sequence[str]
    rows: tuple[VariantRow, ...]
    tasks: tuple[TaskStatus, ...]
    more: int


def shown_sweep(record: ObjectStatus) -> ShownSweep:
    """Return the rows of an object's variants; of others there is none."""
    params, metrics = variant_columns(record)
    tasks = {task.key: task for task in record.tasks if task.key is not None}
    keys = {variant.key for variant in record.variants}
    return ShownSweep(
        params=params,
        metrics=metrics,
        rows=tuple(
            VariantRow(
                variant=variant,
                task=tasks.get(variant.key),
                best=is_best(record, variant),
                params=tuple(_cell(variant, name) for name in params),
                metrics=tuple(
                    format_number(variant.metrics[name]) if name in variant.metrics else ""
                    for name in metrics
                ),
            )
            for variant in record.variants[:ROWS]
        ),
        tasks=tuple(task for task in record.tasks if task.key not in keys),
        more=max(0, len(record.variants) - ROWS),
    )


def _cell(variant: VariantStatus, name: str) -> str:
    return format_value(variant.params[name]) if name in variant.params else ""
