"""Reason codes: a CamelCase word each, as Kubernetes conditions have them.

A code is kept in status files and printed as ``reason``: one that is in use is never renamed.
"""

from __future__ import annotations

import enum


class ReasonCode(enum.StrEnum):
    """Why something is as it is; docs/reasons.md lists each with what to do."""

    # -- Planner: a task
    COMPLETE = "Complete"
    NOT_NEEDED = "NotNeeded"
    SHARED = "Shared"
    RUNNING = "Running"
    RUN_PENDING = "RunPending"
    STARTING = "Starting"
    SUSPENDED = "Suspended"
    WAITING_FOR_BUILD = "WaitingForBuild"
    WAITING_FOR_LOAD = "WaitingForLoad"
    WAITING_FOR_BASE = "WaitingForBase"
    WAITING_FOR_DATASET = "WaitingForDataset"
    DEPENDENCY_BLOCKED = "DependencyBlocked"
    WAITING_FOR_PROMOTION = "WaitingForPromotion"
    TERMINATING = "Terminating"
    PREVIOUS_RUN_UNREACHABLE = "PreviousRunUnreachable"
    PENDING_RUN_REPLACED = "PendingRunReplaced"
    EXECUTION_CHANGED = "ExecutionChanged"
    EXECUTION_CHANGED_BEFORE_START = "ExecutionChangedBeforeStart"
    PREVIOUS_REVISION_RUNNING = "PreviousRevisionRunning"
    WAITING_FOR_SUPERSEDED_RUN = "WaitingForSupersededRun"
    FAILED_RUN_CLEARED = "FailedRunCleared"
    RETRY_BACK_OFF = "RetryBackOff"
    RUN_LIMIT_REACHED = "RunLimitReached"
    GPU_LIMIT_REACHED = "GpuLimitReached"
    INSUFFICIENT_GPUS = "InsufficientGpus"
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    CONTAINER_RUNTIME_MISSING = "ContainerRuntimeMissing"
    KEY_UNKNOWN = "KeyUnknown"

    # -- Planner: sources and references
    SOURCE_NOT_RESOLVED = "SourceNotResolved"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_NOT_ALLOWED = "SourceNotAllowed"
    SOURCE_FOLDER_MISSING = "SourceFolderMissing"
    SOURCE_NOT_APPROVED = "SourceNotApproved"
    REFERENCE_CYCLE = "ReferenceCycle"
    REFERENCE_INVALID = "ReferenceInvalid"
    REFERENCE_BLOCKED = "ReferenceBlocked"
    REFERENCE_INCOMPLETE = "ReferenceIncomplete"
    REFERENCE_IMAGE_UNKNOWN = "ReferenceImageUnknown"
    CLUSTER_NOT_CONFIGURED = "ClusterNotConfigured"
    REMOTE_STATUS_UNAVAILABLE = "RemoteStatusUnavailable"
    REMOTE_INCOMPLETE = "RemoteIncomplete"
    REMOTE_ARTIFACT_REFUSED = "RemoteArtifactRefused"
    REMOTE_UNKNOWN = "RemoteUnknown"

    # -- Planner: objects, holds and runs that are ended
    INVALID_MANIFEST = "InvalidManifest"
    HELD_BY_GUARD = "HeldByGuard"
    HELD_BY_PRUNE = "HeldByPrune"
    RECOMPUTE_TOO_LARGE = "RecomputeTooLarge"
    TREE_EMPTY = "TreeEmpty"
    PRUNE_TOO_LARGE = "PruneTooLarge"
    PRUNE_DISABLED = "PruneDisabled"
    PRUNE_WITHHELD = "PruneWithheld"
    PRUNE_PROTECTED = "PruneProtected"
    MANIFEST_REMOVED = "ManifestRemoved"
    SUPERSEDED = "Superseded"
    FAILED_RUN_RETRIED = "FailedRunRetried"
    BUILD_NOT_NEEDED = "BuildNotNeeded"
    HISTORY_LIMIT = "HistoryLimit"
    NEWER_COMMIT = "NewerCommit"
    UNKNOWN = "Unknown"

    # -- Review: an object for which nothing runs
    TAKES_OVER = "TakesOver"
    TAKES_OVER_ONCE_MADE = "TakesOverOnceMade"
    KEPT_WHILE_BLOCKED = "KeptWhileBlocked"
    KEPT_UNTIL_MENDED = "KeptUntilMended"
    ALREADY_THERE = "AlreadyThere"
    ONLY_EXECUTION_CHANGES = "OnlyExecutionChanges"
    RESULT_UNCHANGED = "ResultUnchanged"
    NOTHING_RUNS = "NothingRuns"

    # -- Engines: a run that waits
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    CONTAINER_CONFIG_INVALID = "ContainerConfigInvalid"
    CONTAINER_CRASHING = "ContainerCrashing"
    CONTAINER_WAITING = "ContainerWaiting"
    POD_STARTING = "PodStarting"
    POD_MISSING = "PodMissing"
    QUEUED = "Queued"
    NODE_UNREACHABLE = "NodeUnreachable"
    OUTCOME_PENDING = "OutcomePending"
    RETRYING_ATTEMPT = "RetryingAttempt"
    WAITING_FOR_SLOTS = "WaitingForSlots"
    WAITING_FOR_GPUS = "WaitingForGpus"
    WAITING_FOR_SAME_KEY = "WaitingForSameKey"

    # -- Engines: a run that failed
    COMMAND_FAILED = "CommandFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"
    OUT_OF_MEMORY = "OutOfMemory"
    LIMIT_EXCEEDED = "LimitExceeded"
    EVICTED = "Evicted"
    DISRUPTED = "Disrupted"
    PODS_GONE = "PodsGone"
    MOUNT_FAILED = "MountFailed"
    INIT_CONTAINER_FAILED = "InitContainerFailed"
    POD_FAILED = "PodFailed"
    CONTAINER_KILLED = "ContainerKilled"
    COMMAND_NOT_STARTED = "CommandNotStarted"
    BUILD_FAILED = "BuildFailed"
    BUILD_RESULT_LOST = "BuildResultLost"
    ARTIFACT_INCOMPLETE = "ArtifactIncomplete"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 -- a code
    RUN_REFUSED = "RunRefused"
    ENGINE_UNAVAILABLE = "EngineUnavailable"
    INFRASTRUCTURE_FAILED = "InfrastructureFailed"
    CANCELLED = "Cancelled"

    __hash__ = str.__hash__  # an enum's own is written in Python
