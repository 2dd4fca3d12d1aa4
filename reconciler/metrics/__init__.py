"""Metrics for Prometheus; ``definitions`` lists them all."""

from reconciler.metrics.daemon import MOST_OBJECTS, Metrics
from reconciler.metrics.definitions import DELIVERIES, OTHERS, PLACES, RESULTS, RETRIERS

__all__ = [
    "DELIVERIES",
    "MOST_OBJECTS",
    "OTHERS",
    "PLACES",
    "RESULTS",
    "RETRIERS",
    "Metrics",
]
