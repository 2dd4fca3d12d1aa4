"""Prices of resources, and the cost of runs by them. Pure.

A cost is an estimate: a cloud's bill has discounts, taxes and idle nodes, which no run knows of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.types import Resources

#: The price of GPUs without a type, and of types without a price of their own.
ANY_GPU = "any"
HOUR = 3600.0
#: The form of a currency.
CURRENCY = r"^[^\s\x00-\x1f\x7f]{0,8}$"
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of an hour of GPUs, cores and GiB of memory.

    Those of GPUs are by type.

    ``startup`` is the seconds of a node that each run costs beside those of its pod.
    """

    currency: str = ""
    gpus: Mapping[str, float] = field(default_factory=dict)
    cpu: float = 0.0
    memory: float = 0.0
    startup: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.cpu or self.memory or any(self.gpus.values()))

    def hourly(self, resources: Resources) -> float:
        """Return the price of an hour of these resources, on all nodes."""
        gpu = resources.gpu
        each = self.cpu * max(0.0, resources.cpu or 0.0)
        each += self.memory * max(0, resources.memory or 0) / GIB
        if gpu is not None:
            price = self.gpus.get(gpu.type or ANY_GPU, self.gpus.get(ANY_GPU, 0.0))
            each += price * max(0, gpu.count)
        return each * max(1, resources.nodes)

    def cost(self, resources: Resources, seconds: float) -> float:
        """Return the cost of a run whose pods took so many seconds."""
        return self.hourly(resources) * (seconds + self.startup) / HOUR

    def shown(self, cost: float) -> str:
        """Format a cost with its currency: ``EUR 12.30``."""
        digits = 2 if cost >= 1 or not cost else 4 if cost >= 0.001 else 6
        return f"{self.currency} {cost:,.{digits}f}".lstrip()
