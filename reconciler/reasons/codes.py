"""Reason codes: a CamelCase word each, as Kubernetes conditions have them.

A code is kept in status files and printed as ``reason``: one that is in use is never renamed.
"""

from __future__ import annotations

import enum
from typing import Self


class ReasonCode(enum.StrEnum):
    """The code of a reason; docs/reasons.md lists each with its remedy."""

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
    STILL_SERVING = "StillServing"
    TERMINATING = "Terminating"
    PREVIOUS_RUN_UNREACHABLE = "PreviousRunUnreachable"
    PENDING_RUN_REPLACED = "PendingRunReplaced"
    EXECUTION_CHANGED = "ExecutionChanged"
    EXECUTION_CHANGED_BEFORE_START = "ExecutionChangedBeforeStart"
    EARLIER_RUN_GOES_ON = "EarlierRunGoesOn"
    SOURCE_MOVED = "SourceMoved"
    WAITING_FOR_SUPERSEDED_RUN = "WaitingForSupersededRun"
    FAILED_RUN_CLEARED = "FailedRunCleared"
    RETRY_BACK_OFF = "RetryBackOff"
    RUN_LIMIT_REACHED = "RunLimitReached"
    GPU_LIMIT_REACHED = "GpuLimitReached"
    INSUFFICIENT_GPUS = "InsufficientGpus"
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    CONTAINER_RUNTIME_MISSING = "ContainerRuntimeMissing"
    KEY_UNKNOWN = "KeyUnknown"

    # -- Commits of the manifest repository
    COMMIT_UNSIGNED = "CommitUnsigned"
    SIGNATURE_INVALID = "SignatureInvalid"
    SIGNER_UNKNOWN = "SignerUnknown"
    SIGNER_EXPIRED = "SignerExpired"
    SIGNER_REVOKED = "SignerRevoked"
    TOO_MANY_COMMITS = "TooManyCommits"
    HISTORY_SHALLOW = "HistoryShallow"
    NOT_SIGNED_BY_TENANT = "NotSignedByTenant"

    # -- Planner: sources and references
    SOURCE_NOT_RESOLVED = "SourceNotResolved"
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    SOURCE_INVALID = "SourceInvalid"
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
    REMOVAL_STILL_HELD = "RemovalStillHeld"
    PRUNE_DISABLED = "PruneDisabled"
    PRUNE_WITHHELD = "PruneWithheld"
    PRUNE_PROTECTED = "PruneProtected"
    MANIFEST_REMOVED = "ManifestRemoved"
    SUPERSEDED = "Superseded"
    FAILED_RUN_RETRIED = "FailedRunRetried"
    RESULT_LOST = "ResultLost"
    BUILD_NOT_NEEDED = "BuildNotNeeded"
    HISTORY_LIMIT = "HistoryLimit"
    NEWER_COMMIT = "NewerCommit"
    NEWER_DATA = "NewerData"
    DATA_CHANGED = "DataChanged"
    DATA_NOT_AS_LISTED = "DataNotAsListed"
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
    WAITING_FOR_ENVIRONMENT = "WaitingForEnvironment"
    FETCHING_SOURCE = "FetchingSource"
    VERIFYING_INPUT = "VerifyingInput"

    # -- Engines: a run in a cluster
    RANK_WAITING = "RankWaiting"
    COPYING_OUT = "CopyingOut"
    COPYING_IN = "CopyingIn"
    UPLOADING = "Uploading"
    NEXT_ATTEMPT_WAITING = "NextAttemptWaiting"
    PODS_TERMINATING = "PodsTerminating"
    SERVICE_MISSING = "ServiceMissing"
    CONTAINER_EXITED = "ContainerExited"
    INTERRUPTED = "Interrupted"
    DISK_FULL = "DiskFull"
    BUCKET_FAILED = "BucketFailed"
    NAMESPACE_MISSING = "NamespaceMissing"
    NAMESPACE_NOT_CONFIGURED = "NamespaceNotConfigured"
    JOB_TERMINATING = "JobTerminating"
    JOB_CONFLICT = "JobConflict"
    OBJECT_REJECTED = "ObjectRejected"
    GPU_TYPE_UNKNOWN = "GpuTypeUnknown"
    PROFILE_UNKNOWN = "ProfileUnknown"
    BUCKET_NOT_ALLOWED = "BucketNotAllowed"
    BUCKET_DRIVER_MISSING = "BucketDriverMissing"
    SECRET_RESERVED = "SecretReserved"  # noqa: S105 -- a code

    # -- Engines: requests to an API server
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    API_SERVER_UNREACHABLE = "ApiServerUnreachable"
    API_SERVER_FAILED = "ApiServerFailed"
    API_SERVER_UNAUTHORIZED = "ApiServerUnauthorized"
    API_SERVER_FORBIDDEN = "ApiServerForbidden"
    API_SERVER_REFUSED = "ApiServerRefused"
    LEASE_OWNED = "LeaseOwned"
    NOT_LEADING = "NotLeading"

    # -- Engines: a result with a warning
    METRICS_IGNORED = "MetricsIgnored"
    ARTIFACT_EMPTY = "ArtifactEmpty"
    GIT_LFS_POINTERS = "GitLfsPointers"
    DATA_CHANGED_MEANWHILE = "DataChangedMeanwhile"

    # -- Engines: a run that failed
    COMMAND_FAILED = "CommandFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"
    OUT_OF_MEMORY = "OutOfMemory"
    STALLED = "Stalled"
    LIMIT_EXCEEDED = "LimitExceeded"
    EVICTED = "Evicted"
    DISRUPTED = "Disrupted"
    PODS_GONE = "PodsGone"
    MOUNT_FAILED = "MountFailed"
    INIT_CONTAINER_FAILED = "InitContainerFailed"
    POD_FAILED = "PodFailed"
    CONTAINER_KILLED = "ContainerKilled"
    COMMAND_NOT_STARTED = "CommandNotStarted"
    COMMAND_NOT_FOUND = "CommandNotFound"
    COMMAND_NOT_EXECUTABLE = "CommandNotExecutable"
    COMMAND_NOT_PERMITTED = "CommandNotPermitted"
    NOEXEC_MOUNT = "NoexecMount"
    WINDOWS_LINE_ENDS = "WindowsLineEnds"
    BYTE_ORDER_MARK = "ByteOrderMark"
    INTERPRETER_LINE_MISSING = "InterpreterLineMissing"
    INTERPRETER_MISSING = "InterpreterMissing"
    LOADER_MISSING = "LoaderMissing"
    BUILD_FAILED = "BuildFailed"
    BUILD_RESULT_LOST = "BuildResultLost"
    ARTIFACT_INCOMPLETE = "ArtifactIncomplete"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 -- a code
    RUN_REFUSED = "RunRefused"
    ENGINE_UNAVAILABLE = "EngineUnavailable"
    INFRASTRUCTURE_FAILED = "InfrastructureFailed"
    CANCELLED = "Cancelled"
    IMAGE_GONE = "ImageGone"
    ARTIFACT_LOST = "ArtifactLost"
    ARTIFACT_NOT_VERIFIED = "ArtifactNotVerified"
    SUPERVISOR_LOST = "SupervisorLost"
    SUPERVISOR_STOPPED = "SupervisorStopped"

    __hash__ = str.__hash__  # an enum's own is written in Python

    @classmethod
    def known(cls, code: str) -> Self:
        """Return a recorded code; ``Unknown`` for one of another version."""
        try:
            return cls(code)
        except ValueError:
            return cls(cls.UNKNOWN)
