"""Metrics of the daemon's process, read from the system at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from reconciler.metrics.definitions import Definitions


class ProcessSeries(Collector):
    """The usual process metrics of Prometheus' clients, on every system."""

    def __init__(self, definitions: Definitions) -> None:
        self._metrics = definitions
        self._process = psutil.Process()
        definitions.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Make one family per metric."""
        with self._process.oneshot():
            times = self._process.cpu_times()
            cpu = self._metrics.process_cpu.counter()
            cpu.add_metric((), times.user + times.system)
            yield cpu
            for definition, value in (
                (self._metrics.process_memory, self._process.memory_info().rss),
                (self._metrics.process_files, self._process.num_fds()),
                (self._metrics.process_start, self._process.create_time()),
            ):
                family = definition.gauge()
                family.add_metric((), value)
                yield family
