"""Metrics by name, type, labels and meaning: defined once, for Prometheus and for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

PREFIX = "reconciler_"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric. ``name`` is as it is served: prefixed, a counter's with ``_total``."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str

    def gauge(self) -> GaugeMetricFamily:
        """A family of it, to be filled at a scrape."""
        return GaugeMetricFamily(self.name, self.meaning, labels=self.labels)

    def counter(self) -> CounterMetricFamily:
        """A family of it, to be filled at a scrape."""
        return CounterMetricFamily(self.name, self.meaning, labels=self.labels)


class Definitions:
    """A registry, and what is in it; names are given without the prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.defined: list[Definition] = []

    def define(self, name: str, kind: str, meaning: str, *labels: str) -> Definition:
        """A metric whose series are made at each scrape, by whoever defines it."""
        definition = Definition(f"{PREFIX}{name}", kind, labels, meaning)
        self.defined.append(definition)
        return definition

    def gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        """What may go up and down."""
        definition = self.define(name, "gauge", meaning, *labels)
        return Gauge(definition.name, meaning, labels, registry=self.registry)

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """What only grows while the process lives."""
        definition = self.define(name, "counter", meaning, *labels)
        return Counter(definition.name, meaning, labels, registry=self.registry)

    def histogram(
        self, name: str, meaning: str, *labels: str, buckets: Iterable[float]
    ) -> Histogram:
        """How long things took, counted by upper bounds in seconds."""
        definition = self.define(name, "histogram", meaning, *labels)
        return Histogram(
            definition.name, meaning, labels, buckets=tuple(buckets), registry=self.registry
        )
