"""The sources of collections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reconciler.daemon.bucket_parts import MountedBuckets
from reconciler.daemon.pull_request_planner import DaemonState
from reconciler.daemon.retention_heads import Found
from reconciler.engines.local import ArtifactPlaces
from reconciler.image_registry import ImageRegistry
from reconciler.planner import OwnCluster, Reference, RetentionPolicy
from reconciler.reasons import Reason

#: What open pull requests ask for, and the doubts about it.
RequestReferences = Callable[[], tuple[Sequence[Reference], Sequence[Reason]]]


def no_requests() -> tuple[Sequence[Reference], Sequence[Reason]]:
    """The references of pull requests where none are followed."""
    return (), ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSources:
    """The policy of collections, and their sources outside of the daemon.

    ``mounted`` are buckets that pods alone can reach; None without any. ``images`` is the registry
    that builds push to; None without one. ``heads`` reads other heads of the repository, and may
    block; None without any. ``leads`` says whether this replica may still change anything.
    """

    policy: RetentionPolicy
    own: OwnCluster
    places: ArtifactPlaces
    mounted: MountedBuckets | None = None
    images: ImageRegistry | None = None
    requests: RequestReferences = no_requests
    heads: Callable[[DaemonState], Found] | None = None
    leads: Callable[[], bool] = lambda: True
