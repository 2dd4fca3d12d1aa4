"""The configuration that affects plans.

It is apart from what plans are made of, as the configuration's sections have its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.manifests import Tenants
from reconciler.planner.prices import Prices
from reconciler.types import Kind


@dataclass(frozen=True, slots=True)
class RemoteCluster:
    """Another cluster's allow-lists: globs over image names and bucket URLs."""

    registries: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerConfig:
    """The configuration that affects plans; a limit of 0 is none."""

    cluster: str = "local"
    instance: str = "default"
    buckets: Mapping[Kind, str] = field(default_factory=dict)
    allow_images: tuple[str, ...] = ("*",)
    allow_labels: tuple[str, ...] = ()
    guard_tasks: int = 100
    guard_gpus: int = 32
    limit_runs: int = 0
    limit_gpus: int = 0
    prune: bool = True
    prune_share: float = 0.5
    prune_floor: int = 3
    history_jobs: int = 3
    clusters: Mapping[str, RemoteCluster] = field(default_factory=dict)
    tenants: Tenants = field(default_factory=Tenants)
    prices: Prices = field(default_factory=Prices)
    guard_cost: float = 0.0
    guard_running_gpu_hours: float = 8.0
    guard_running_seconds: float = 0.0
    budget_month: float = 0.0
