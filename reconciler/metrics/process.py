"""What the daemon's process uses; asked of the system at each scrape."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from reconciler.metrics.definitions import Definitions


class ProcessSeries(Collector):
    """As Prometheus' own clients tell it, on every system."""

    def __init__(self, definitions: Definitions) -> None:
        self._cpu = definitions.define(
            "process_cpu_seconds_total", "counter", "CPU time of the daemon, user and system."
        )
        self._memory = definitions.define(
            "process_resident_memory_bytes", "gauge", "Memory of the daemon that is resident."
        )
        self._files = definitions.define(
            "process_open_fds", "gauge", "File descriptors that the daemon has open."
        )
        self._start = definitions.define(
            "process_start_time_seconds", "gauge", "When the daemon was started."
        )
        self._process = psutil.Process()
        definitions.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """One family each."""
        with self._process.oneshot():
            times = self._process.cpu_times()
            cpu = self._cpu.counter()
            cpu.add_metric((), times.user + times.system)
            yield cpu
            for definition, value in (
                (self._memory, self._process.memory_info().rss),
                (self._files, self._process.num_fds()),
                (self._start, self._process.create_time()),
            ):
                family = definition.gauge()
                family.add_metric((), value)
                yield family
