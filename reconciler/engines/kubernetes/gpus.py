"""GPU types as manifests name them, and as this cluster knows them.

Every cloud labels its nodes in its own way, so there is no table that would be right anywhere:
the configuration has it. Without one, only GPUs of any type can be asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.engines.kubernetes.pod_parts import Manifest, RenderError
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Gpu

#: The entry for GPUs of which no type is asked.
ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuType:
    """What one GPU is called as a resource, and which nodes have it."""

    resource: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Manifest, ...] = ()


def find_gpu(gpu: Gpu, table: Mapping[str, GpuType]) -> GpuType:
    """The entry for what a run asks for. Raises RenderError."""
    name = gpu.type or ANY
    if name in table:
        return table[name]
    if name == ANY:
        return GpuType()
    known = ", ".join(sorted(table)) or "none"
    raise RenderError(Reason.of(ReasonCode.GPU_TYPE_UNKNOWN, type=name, known=known))
