"""A registry of metrics, defined once for Prometheus and for the documentation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

PREFIX = "reconciler_"


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric; ``name`` is the served one, prefixed, a counter's with ``_total``."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str

    def gauge(self) -> GaugeMetricFamily:
        """Make an empty family, to be filled at a scrape."""
        return GaugeMetricFamily(self.name, self.meaning, labels=self.labels)

    def counter(self) -> CounterMetricFamily:
        """Make an empty family, to be filled at a scrape."""
        return CounterMetricFamily(self.name, self.meaning, labels=self.labels)


class Registry:
    """A registry with its definitions; methods take names without the prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.defined: list[Definition] = []

    def define(self, name: str, kind: str, meaning: str, *labels: str) -> Definition:
        """Define a metric whose series a collector makes at each scrape."""
        definition = Definition(f"{PREFIX}{name}", kind, labels, meaning)
        self.defined.append(definition)
        return definition

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """Define a gauge."""
        definition = self.define(name, "gauge", meaning, *labels)
        return Gauge(definition.name, meaning, labels, registry=self.registry)

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Define a counter."""
        definition = self.define(name, "counter", meaning, *labels)
        return Counter(definition.name, meaning, labels, registry=self.registry)

    def histogram(
        self, name: str, meaning: str, *labels: str, buckets: Iterable[float]
    ) -> Histogram:
        """Define a histogram of durations; ``buckets`` are upper bounds in seconds."""
        definition = self.define(name, "histogram", meaning, *labels)
        return Histogram(
            definition.name, meaning, labels, buckets=tuple(buckets), registry=self.registry
        )
