"""An object's status in a few words."""

from __future__ import annotations

from collections import Counter

from reconciler.planner import ObjectStatus, Phase, TaskPhase
from reconciler.review.figures import format_number
from reconciler.review.quantities import counted


def shown_metric(record: ObjectStatus) -> str:
    """Format one metric of the artifact: accuracy, or else the first one."""
    metrics = record.artifact.metrics if record.artifact else {}
    name = "accuracy" if "accuracy" in metrics else next(iter(metrics), None)
    return f"{name} {format_number(metrics[name])}" if name is not None else ""


def shown_message(record: ObjectStatus) -> str:
    """Return an object's message.

    A Ready object has those of its other conditions, and a sweep the number of its variants.
    """
    if record.phase is not Phase.READY:
        return record.message
    own = [sweep_text(record)] if record.complete else [record.message]
    own = [text for text in own if text]
    return "; ".join([*own, *shown_conditions(record).values()])


def shown_conditions(record: ObjectStatus) -> dict[str, str]:
    """Return the messages of an object's conditions by type, but for Ready."""
    return {c.type: c.message for c in record.conditions if c.type != "Ready" and c.message}


#: Phases of variants in the order in which they are counted.
_COUNTED = {
    TaskPhase.SUCCEEDED: "complete",
    TaskPhase.FAILED: "failed",
    TaskPhase.RUNNING: "running",
    TaskPhase.HELD: "held",
}


def sweep_text(record: ObjectStatus) -> str:
    """Count an object's variants: ``4 variants: 3 complete, 1 failed``; else empty."""
    if not record.variants:
        return ""
    counts = Counter(_COUNTED.get(variant.phase, "waiting") for variant in record.variants)
    words = (*_COUNTED.values(), "waiting")
    text = ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
    return f"{counted(len(record.variants), 'variant')}: {text}"
