"""Planning as a pure function of manifests, runs and recorded statuses.

Manifests, observations and the ledger go in; tasks, keys and actions come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.planner.diff import make_plan
    from reconciler.planner.forecast import ZERO, Forecast, ForecastBasis, Forecaster, Spread
    from reconciler.planner.gates import judge, new_verdicts, unaccepted
    from reconciler.planner.holds import read_release
    from reconciler.planner.identical import differing, same_keys
    from reconciler.planner.image_use import all_images_in_use, images_in_use
    from reconciler.planner.ledger import Completed, Ledger
    from reconciler.planner.losses import artifacts_in_use, reported_losses
    from reconciler.planner.names import (
        artifact_url,
        is_removed_path,
        object_of_path,
        removed_path,
        status_path,
    )
    from reconciler.planner.object_status import (
        URGENCY,
        HistoryEntry,
        ObjectStatus,
        Phase,
        Phases,
        ServedPromotion,
        TaskPhase,
        TaskStatus,
        VariantStatus,
        Verdict,
        newest_printed,
    )
    from reconciler.planner.own_cluster import OwnCluster
    from reconciler.planner.plan import (
        RELEASE_FILE,
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
    from reconciler.planner.plan_cache import CacheEntry, PlanCache
    from reconciler.planner.prices import HOUR, Prices
    from reconciler.planner.remote_clusters import (
        RemoteArtifact,
        RemoteCluster,
        RemoteObject,
        RemoteStatus,
        Unavailable,
    )
    from reconciler.planner.resolver import resolve
    from reconciler.planner.retry_policy import CLOCK_SKEW
    from reconciler.planner.run_spec import Preview, preview, wanted_results
    from reconciler.planner.spending import MOST_MONTHS, month_of
    from reconciler.planner.status_history import kept_params
    from reconciler.planner.status_update import statuses_after, update_status
    from reconciler.planner.tasks import ResolvedObject
    from reconciler.planner.wall_time import TimedTask, makespan

_MODULES = {
    "ForecastBasis": "forecast",
    "Forecast": "forecast",
    "Forecaster": "forecast",
    "Spread": "forecast",
    "TimedTask": "wall_time",
    "ZERO": "forecast",
    "makespan": "wall_time",
    "MOST_MONTHS": "spending",
    "ActionKind": "plan",
    "CacheEntry": "plan_cache",
    "Completed": "ledger",
    "HOUR": "prices",
    "HistoryEntry": "object_status",
    "ServedPromotion": "object_status",
    "Hold": "plan",
    "HoldKind": "plan",
    "CLOCK_SKEW": "retry_policy",
    "Ledger": "ledger",
    "ObjectStatus": "object_status",
    "OwnCluster": "own_cluster",
    "Phase": "object_status",
    "Phases": "object_status",
    "Plan": "plan",
    "PlanCache": "plan_cache",
    "PlanInput": "plan",
    "PlannerConfig": "plan",
    "Preview": "run_spec",
    "Prices": "prices",
    "RELEASE_FILE": "plan",
    "RemoteArtifact": "remote_clusters",
    "RemoteCluster": "remote_clusters",
    "RemoteObject": "remote_clusters",
    "RemoteStatus": "remote_clusters",
    "ReportedTask": "plan",
    "ReportedTasks": "plan",
    "ResolvedObject": "tasks",
    "RunDeletion": "plan",
    "TaskAction": "plan",
    "TaskPhase": "object_status",
    "TaskStatus": "object_status",
    "VariantStatus": "object_status",
    "Verdict": "object_status",
    "URGENCY": "object_status",
    "Unavailable": "remote_clusters",
    "all_images_in_use": "image_use",
    "artifact_url": "names",
    "artifacts_in_use": "losses",
    "images_in_use": "image_use",
    "differing": "identical",
    "is_removed_path": "names",
    "object_of_path": "names",
    "make_plan": "diff",
    "judge": "gates",
    "kept_params": "status_history",
    "new_verdicts": "gates",
    "month_of": "spending",
    "newest_printed": "object_status",
    "preview": "run_spec",
    "read_release": "holds",
    "removed_path": "names",
    "reported_losses": "losses",
    "resolve": "resolver",
    "same_keys": "identical",
    "status_path": "names",
    "statuses_after": "status_update",
    "unaccepted": "gates",
    "update_status": "status_update",
    "wanted_results": "run_spec",
}
__getattr__ = lazy_exports(__name__, _MODULES)

__all__ = [
    "CLOCK_SKEW",
    "HOUR",
    "MOST_MONTHS",
    "RELEASE_FILE",
    "URGENCY",
    "ZERO",
    "ActionKind",
    "CacheEntry",
    "Completed",
    "Forecast",
    "ForecastBasis",
    "Forecaster",
    "HistoryEntry",
    "Hold",
    "HoldKind",
    "Ledger",
    "ObjectStatus",
    "OwnCluster",
    "Phase",
    "Phases",
    "Plan",
    "PlanCache",
    "PlanInput",
    "PlannerConfig",
    "Preview",
    "Prices",
    "RemoteArtifact",
    "RemoteCluster",
    "RemoteObject",
    "RemoteStatus",
    "ReportedTask",
    "ReportedTasks",
    "ResolvedObject",
    "RunDeletion",
    "ServedPromotion",
    "Spread",
    "TaskAction",
    "TaskPhase",
    "TaskStatus",
    "TimedTask",
    "Unavailable",
    "VariantStatus",
    "Verdict",
    "all_images_in_use",
    "artifact_url",
    "artifacts_in_use",
    "differing",
    "images_in_use",
    "is_removed_path",
    "judge",
    "kept_params",
    "make_plan",
    "makespan",
    "month_of",
    "new_verdicts",
    "newest_printed",
    "object_of_path",
    "preview",
    "read_release",
    "removed_path",
    "reported_losses",
    "resolve",
    "same_keys",
    "status_path",
    "statuses_after",
    "unaccepted",
    "update_status",
    "wanted_results",
]
