"""Metrics for Prometheus; ``definitions`` lists them all."""

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.metrics.daemon import MOST_OBJECTS, Metrics
    from reconciler.metrics.definitions import (
        DELIVERIES,
        GATE_RESULTS,
        OTHERS,
        PLACES,
        RESULTS,
        RETRIERS,
    )

_MODULES = {
    "DELIVERIES": "definitions",
    "GATE_RESULTS": "definitions",
    "MOST_OBJECTS": "daemon",
    "Metrics": "daemon",
    "OTHERS": "definitions",
    "PLACES": "definitions",
    "RESULTS": "definitions",
    "RETRIERS": "definitions",
}
__getattr__ = lazy_exports(__name__, _MODULES)

__all__ = [
    "DELIVERIES",
    "GATE_RESULTS",
    "MOST_OBJECTS",
    "OTHERS",
    "PLACES",
    "RESULTS",
    "RETRIERS",
    "Metrics",
]
