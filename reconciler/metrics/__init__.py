"""Metrics for Prometheus; ``definitions`` lists them all."""

from reconciler.metrics.daemon import MOST_OBJECTS, Metrics
from reconciler.metrics.definitions import (
    DELIVERIES,
    GATE_RESULTS,
    OTHERS,
    PLACES,
    RESULTS,
    RETRIERS,
)

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
