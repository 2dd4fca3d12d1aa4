"""Planning as a pure function of manifests, runs and recorded statuses.

Manifests, observations and the ledger go in; tasks, keys and actions come out.
"""

from __future__ import annotations

from reconciler.planner.diff import (
    diff,
)
from reconciler.planner.holds import (
    RELEASE_FILE,
    read_release,
)
from reconciler.planner.ledger import (
    Ledger,
)
from reconciler.planner.names import (
    is_removed_path,
    is_status_path,
    removed_path,
    status_path,
)
from reconciler.planner.plan import (
    ActionKind,
    Hold,
    HoldKind,
    Plan,
    PlanCache,
    PlanInput,
    PlannerConfig,
    RunDeletion,
    TaskAction,
)
from reconciler.planner.plan_cache import (
    differing,
    same_keys,
    update_cache,
)
from reconciler.planner.remote_clusters import (
    NODE_BOUND,
    RemoteArtifact,
    RemoteCluster,
    RemoteObject,
    RemoteStatus,
    Unavailable,
)
from reconciler.planner.resolver import (
    ResolverCache,
    resolve,
)
from reconciler.planner.run_spec import (
    Preview,
    preview,
    wanted_results,
)
from reconciler.planner.status import (
    URGENCY,
    ArtifactStatus,
    Condition,
    HistoryEntry,
    ManifestStatus,
    ObjectStatus,
    Phase,
    Phases,
    ReferenceStatus,
    SourceStatus,
    TaskPhase,
    TaskStatus,
    newest_printed,
)
from reconciler.planner.status_update import (
    update_status,
)
from reconciler.planner.tasks import (
    FORMERLY_ANNOTATION,
    RETRY_ANNOTATION,
    UPDATE_ANNOTATION,
    ResolvedObject,
)

__all__ = [
    "FORMERLY_ANNOTATION",
    "NODE_BOUND",
    "RELEASE_FILE",
    "RETRY_ANNOTATION",
    "UPDATE_ANNOTATION",
    "URGENCY",
    "ActionKind",
    "ArtifactStatus",
    "Condition",
    "HistoryEntry",
    "Hold",
    "HoldKind",
    "Ledger",
    "ManifestStatus",
    "ObjectStatus",
    "Phase",
    "Phases",
    "Plan",
    "PlanCache",
    "PlanInput",
    "PlannerConfig",
    "Preview",
    "ReferenceStatus",
    "RemoteArtifact",
    "RemoteCluster",
    "RemoteObject",
    "RemoteStatus",
    "ResolvedObject",
    "ResolverCache",
    "RunDeletion",
    "SourceStatus",
    "TaskAction",
    "TaskPhase",
    "TaskStatus",
    "Unavailable",
    "diff",
    "differing",
    "is_removed_path",
    "is_status_path",
    "newest_printed",
    "preview",
    "read_release",
    "removed_path",
    "resolve",
    "same_keys",
    "status_path",
    "update_cache",
    "update_status",
    "wanted_results",
]
