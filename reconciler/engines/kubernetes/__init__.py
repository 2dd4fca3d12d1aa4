"""The Kubernetes engine.

A run is a plain Job, an artifact a directory of a mounted bucket.

Pure functions render the Job of a RunSpec (:mod:`.job`), and read the run that it is from the Job
and its Pods (:mod:`.observer`, :mod:`.diagnostics`). Between the two are a client that decodes
only the fields in use (:mod:`.client`), and caches that one list and one watch for each kind keep
current (:mod:`.informer`).

Importing this package takes about a second: import it where it is needed, not at the top of a
module that every command loads.
"""

from reconciler.engines.kubernetes.artifact_collection import ArtifactJobs, render_collection
from reconciler.engines.kubernetes.build_pod import image_tag
from reconciler.engines.kubernetes.client import Api, Asked
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.data_listing import render_listing
from reconciler.engines.kubernetes.ended_runs import ClusterRun, ClusterRuns
from reconciler.engines.kubernetes.engine import KubernetesEngine
from reconciler.engines.kubernetes.inventory import render_inventory
from reconciler.engines.kubernetes.job import dump, render
from reconciler.engines.kubernetes.leader_election import Leadership, leader_note
from reconciler.engines.kubernetes.logs import FollowedPodLogs, PodLogs
from reconciler.engines.kubernetes.pod_parts import RenderError
from reconciler.engines.kubernetes.progress_note import read_note, write_note
from reconciler.engines.kubernetes.reported_progress import ReportedProgress

__all__ = [
    "Api",
    "ArtifactJobs",
    "Asked",
    "ClusterRun",
    "ClusterRuns",
    "ClusterSettings",
    "FollowedPodLogs",
    "KubernetesEngine",
    "Leadership",
    "PodLogs",
    "RenderError",
    "ReportedProgress",
    "dump",
    "image_tag",
    "leader_note",
    "read_note",
    "render",
    "render_collection",
    "render_inventory",
    "render_listing",
    "write_note",
]
