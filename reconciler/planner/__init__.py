"""Planning as a pure function of manifests, runs and recorded statuses.

Manifests, observations and the ledger go in; tasks, keys and actions come out.
"""

from __future__ import annotations

from reconciler.planner.diff import (
    make_plan,
)
from reconciler.planner.holds import (
    RELEASE_FILE,
    read_release,
)
from reconciler.planner.ledger import (
    Ledger,
)
from reconciler.planner.losses import artifacts_in_use, reported_losses
from reconciler.planner.names import (
    is_removed_path,
    is_status_path,
    removed_path,
    status_path,
)
from reconciler.planner.object_status import (
    URGENCY,
    HistoryEntry,
    ObjectStatus,
    Phase,
    Phases,
    TaskPhase,
    TaskStatus,
    newest_printed,
)
from reconciler.planner.plan import (
    ActionKind,
    Hold,
    HoldKind,
    Plan,
    PlanInput,
    PlannerConfig,
    ReportedTask,
    ReportedTasks,
    RunDeletion,
    TaskAction,
)
from reconciler.planner.plan_cache import (
    CacheEntry,
    PlanCache,
    differing,
    same_keys,
)
from reconciler.planner.remote_clusters import (
    RemoteArtifact,
    RemoteCluster,
    RemoteObject,
    RemoteStatus,
    Unavailable,
)
from reconciler.planner.resolver import (
    resolve,
)
from reconciler.planner.run_spec import (
    Preview,
    preview,
    wanted_results,
)
from reconciler.planner.status_update import (
    statuses_after,
    update_status,
)
from reconciler.planner.tasks import (
    ResolvedObject,
)

__all__ = [
    "RELEASE_FILE",
    "URGENCY",
    "ActionKind",
    "CacheEntry",
    "HistoryEntry",
    "Hold",
    "HoldKind",
    "Ledger",
    "ObjectStatus",
    "Phase",
    "Phases",
    "Plan",
    "PlanCache",
    "PlanInput",
    "PlannerConfig",
    "Preview",
    "RemoteArtifact",
    "RemoteCluster",
    "RemoteObject",
    "RemoteStatus",
    "ReportedTask",
    "ReportedTasks",
    "ResolvedObject",
    "RunDeletion",
    "TaskAction",
    "TaskPhase",
    "TaskStatus",
    "Unavailable",
    "artifacts_in_use",
    "differing",
    "is_removed_path",
    "is_status_path",
    "make_plan",
    "newest_printed",
    "preview",
    "read_release",
    "removed_path",
    "reported_losses",
    "resolve",
    "same_keys",
    "status_path",
    "statuses_after",
    "update_status",
    "wanted_results",
]
