"""Classes of reason codes, by which code decides.

They stand beside the codes, so that whoever adds a code sees each of them. What a single engine
can report at all is that engine's.
"""

from __future__ import annotations

from reconciler.reasons.codes import ReasonCode

#: Of a result that is complete all the same.
WARNINGS = frozenset(
    {
        ReasonCode.METRICS_IGNORED,
        ReasonCode.ARTIFACT_EMPTY,
        ReasonCode.GIT_LFS_POINTERS,
        ReasonCode.DATA_CHANGED_MEANWHILE,
    }
)

#: Of a source that a later look-up may find, at the same commit.
UNRESOLVED_SOURCES = frozenset({ReasonCode.SOURCE_NOT_RESOLVED, ReasonCode.SOURCE_UNAVAILABLE})
#: Of a source that no later sync of the same commit mends.
INVALID_SOURCES = frozenset({ReasonCode.SOURCE_INVALID, ReasonCode.SOURCE_FOLDER_MISSING})

#: Of what waits for another object, here or in another cluster, whose own state says more.
ON_OTHERS = frozenset(
    {
        ReasonCode.DEPENDENCY_BLOCKED,
        ReasonCode.BASE_REJECTED,
        ReasonCode.BASE_NOT_ACCEPTED,
        ReasonCode.CLUSTER_NOT_CONFIGURED,
        ReasonCode.REMOTE_STATUS_UNAVAILABLE,
        ReasonCode.REMOTE_INCOMPLETE,
        ReasonCode.REMOTE_ARTIFACT_REFUSED,
    }
)
#: Of what a sync may not find in its way, as it can look where a plan cannot.
UNKNOWABLE = UNRESOLVED_SOURCES | {
    ReasonCode.SOURCE_NOT_APPROVED,
    ReasonCode.REMOTE_STATUS_UNAVAILABLE,
    ReasonCode.REMOTE_UNKNOWN,
}
#: Of a task that waits, where they follow from Git and are found anew by a plan.
FROM_GIT = ON_OTHERS | {
    ReasonCode.SUSPENDED,
    ReasonCode.NODE_UNREACHABLE,
    ReasonCode.PREVIOUS_RUN_UNREACHABLE,
    ReasonCode.REMOTE_UNKNOWN,
}

#: Of an object without a manifest that stays until a hold is released.
HELD_REMOVALS = frozenset({ReasonCode.HELD_BY_PRUNE, ReasonCode.HELD_BY_RUNNING})

#: Of a task that is to be started once an earlier run is out of its way.
AFTER_A_RUN = frozenset(
    {
        ReasonCode.WAITING_FOR_SUPERSEDED_RUN,
        ReasonCode.PENDING_RUN_REPLACED,
        ReasonCode.FAILED_RUN_CLEARED,
    }
)
#: Of a task without a run of its key; a job that it names is an earlier one's.
WITHOUT_RUN = AFTER_A_RUN | {
    ReasonCode.EARLIER_RUN_GOES_ON,
    ReasonCode.WAITING_FOR_BUILD,
    ReasonCode.WAITING_FOR_LOAD,
    ReasonCode.WAITING_FOR_BASE,
    ReasonCode.WAITING_FOR_DATASET,
    ReasonCode.WAITING_FOR_EVALUATION,
    ReasonCode.RUN_LIMIT_REACHED,
    ReasonCode.GPU_LIMIT_REACHED,
}
#: Of a task that waits as the node of its run is silent, where that may go on.
SILENT_RUNS = frozenset({ReasonCode.NODE_UNREACHABLE, ReasonCode.EXECUTION_CHANGED})
#: Of a run that does not go on by itself: something outside has to change first.
OBSTACLES = frozenset(
    {
        ReasonCode.CONTAINER_CONFIG_INVALID,
        ReasonCode.CONTAINER_CRASHING,
        ReasonCode.CONTAINER_WAITING,
        ReasonCode.ENGINE_UNAVAILABLE,
        ReasonCode.IMAGE_PULL_FAILED,
        ReasonCode.INSUFFICIENT_GPUS,
        ReasonCode.NODE_UNREACHABLE,
        ReasonCode.POD_MISSING,
        ReasonCode.QUEUED,
        ReasonCode.QUEUED_AGAIN,
        ReasonCode.QUEUE_CONTROLLER_MISSING,
        ReasonCode.QUEUE_IGNORES_JOB,
        ReasonCode.JOB_SUSPENDED,
        ReasonCode.SERVICE_MISSING,
        ReasonCode.UNSCHEDULABLE,
    }
)
#: Of a failure that is about the file which the command's first word names.
ON_FILES = frozenset(
    {
        ReasonCode.BYTE_ORDER_MARK,
        ReasonCode.COMMAND_NOT_EXECUTABLE,
        ReasonCode.INTERPRETER_LINE_MISSING,
        ReasonCode.INTERPRETER_MISSING,
        ReasonCode.WINDOWS_LINE_ENDS,
    }
)
