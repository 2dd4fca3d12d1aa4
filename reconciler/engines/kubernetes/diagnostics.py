"""Diagnosis of pods: why an attempt waits or failed. Pure.

Each diagnosis is a :class:`Reason`, whose sentence is in ``reasons/messages.py``. A failure has its
class too: a failure of the command is remembered, every other one is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from reconciler.engine import FailureClass
from reconciler.engines.kubernetes.api_types import (
    ContainerStatus,
    ContainerTerminated,
    ObjectCondition,
    Pod,
)
from reconciler.engines.kubernetes.buckets.rclone import SIDECAR_PREFIX
from reconciler.engines.kubernetes.pod_parts import CONTAINER
from reconciler.engines.kubernetes.termination import (
    Termination,
    TerminationState,
    read_termination,
)
from reconciler.engines.kubernetes.wrapper import INFRASTRUCTURE_EXIT
from reconciler.reasons import Reason, ReasonCode

JOB_NAME = "batch.kubernetes.io/job-name"
JOB_UID = "batch.kubernetes.io/controller-uid"
JOB_INDEX = "batch.kubernetes.io/job-completion-index"
_LONGEST = 500
#: Exit codes of a container that was ended from outside: by SIGKILL, by SIGTERM.
_KILLED = (137, 143)
#: The condition of a pod that is evicted, preempted or deleted with its node.
_DISRUPTED = "DisruptionTarget"

#: Waiting reasons of a container whose image cannot be pulled.
_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
#: Waiting reasons of a container that is only starting.
_STARTING = ("", "PodInitializing", "ContainerCreating")

#: Whose fault a failure is, and why it happened.
Failure = tuple[FailureClass, Reason]


def job_name(pod: Pod) -> str:
    """Return the name of the Job that a pod belongs to."""
    return pod.metadata.labels.get(JOB_NAME, "")


def job_uid(pod: Pod) -> str:
    """Return the UID of the pod's Job.

    An earlier Job of the same name has another UID, and its pods may outlive it.
    """
    return pod.metadata.labels.get(JOB_UID, "")


def creation_key(pod: Pod) -> tuple[str, str]:
    """Return a key that sorts pods by their time of creation."""
    created = pod.metadata.creation_timestamp
    return created.isoformat() if created else "", pod.metadata.name


def _main(pod: Pod) -> ContainerStatus | None:
    return next((c for c in pod.status.container_statuses if c.name == CONTAINER), None)


def find_end(pod: Pod) -> ContainerTerminated | None:
    """Return the end of the main container, if it has ended."""
    main = _main(pod)
    if main is None:
        return None
    return main.state.terminated or main.last_state.terminated


def find_termination(pod: Pod) -> Termination | None:
    """Return the wrapper's termination message; None if it left none."""
    ended = find_end(pod)
    return read_termination(ended.message) if ended is not None else None


def is_running(pod: Pod) -> bool:
    """Return whether the main container runs now."""
    main = _main(pod)
    return main is not None and main.state.running is not None


def explain_silence(pods: Iterable[Pod]) -> Reason | None:
    """Name the nodes of pods that do not answer, if any.

    When a node is not heard of, Kubernetes takes the condition Ready off its pods and leaves what
    its kubelet last said of their containers: no kubelet ever says those two things at once.
    """
    silent = {pod.spec.node_name for pod in pods if not pod.is_over() and _is_unheard(pod)}
    if not silent:
        return None
    return Reason.of(ReasonCode.NODE_UNREACHABLE, nodes=tuple(sorted(silent)))


def _is_unheard(pod: Pod) -> bool:
    known = {c.type: (c.status, c.reason) for c in pod.status.conditions}
    return known.get("Ready") == ("False", "") and known.get("ContainersReady", ("",))[0] == "True"


def started_at(pod: Pod) -> datetime | None:
    """Return the time at which the main container started, if it has."""
    main = _main(pod)
    if main is None:
        return None
    if main.state.running is not None:
        return main.state.running.started_at
    ended = find_end(pod)
    return ended.started_at if ended else None


def has_started(pod: Pod) -> bool:
    """Return whether the main container was ever started."""
    return is_running(pod) or started_at(pod) is not None


def finished_at(pods: Iterable[Pod]) -> datetime | None:
    """Return the time at which the last of their main containers ended."""
    times = [e.finished_at for pod in pods if (e := find_end(pod)) and e.finished_at]
    return max(times, default=None)


def find_condition(conditions: Iterable[ObjectCondition], *types: str) -> ObjectCondition | None:
    """Return the first condition of these types that is true."""
    return next((c for c in conditions if c.type in types and c.status == "True"), None)


def explain_waiting(pod: Pod) -> Reason | None:
    """Explain why a pod cannot start; None if it is only starting."""
    unscheduled = next(
        (c for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "False"), None
    )
    if unscheduled is not None:
        detail = one_line(unscheduled.message or unscheduled.reason)
        return Reason.of(ReasonCode.UNSCHEDULABLE, detail=detail)
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting
        if waiting is None or waiting.reason in _STARTING:
            continue
        detail = one_line(waiting.message or waiting.reason)
        if waiting.reason in _PULL:
            return Reason.of(ReasonCode.IMAGE_PULL_FAILED, image=status.image, detail=detail)
        if waiting.reason == "CreateContainerConfigError":
            return Reason.of(ReasonCode.CONTAINER_CONFIG_INVALID, detail=detail)
        if waiting.reason == "CrashLoopBackOff":
            code = ReasonCode.CONTAINER_CRASHING
            return Reason.of(code, container=status.name, detail=detail)
        detail = f"{waiting.reason}: {detail}"
        return Reason.of(ReasonCode.CONTAINER_WAITING, container=status.name, detail=detail)
    return None


def explain_disruption(pods: Iterable[Pod]) -> Reason | None:
    """Explain the disruption of the first of these pods that was disrupted.

    None if none was. Soon after the disruption the pod is gone. A pod that is neither over nor
    deleted may yet be spared: the condition is then taken back.
    """
    for pod in pods:
        disrupted = find_condition(pod.status.conditions, _DISRUPTED)
        ends = pod.is_over() or pod.metadata.deletion_timestamp is not None
        if disrupted is not None and ends:
            detail = one_line(disrupted.message or disrupted.reason)
            return Reason.of(ReasonCode.DISRUPTED, where=_where(pod), detail=detail)
    return None


def explain_failure(
    pods: Sequence[Pod], ended: ObjectCondition | None, *, disrupted: Reason | None = None
) -> Failure:
    """Classify and explain the newest failure among a Job's pods.

    ``ended`` is the Job's condition Failed; None if the Job goes on. ``disrupted`` is an earlier
    result of :func:`explain_disruption`. A rank that is evicted takes the others' commands with
    it, which fail on their own account, perhaps even before it has ended. Of ranks that failed
    together otherwise the first one to end is the cause.
    """
    disrupted = explain_disruption(pods) or disrupted
    if disrupted is None and ended is not None and _ended_by_disruption(ended):
        detail = "evicted, preempted, or its node was lost"
        disrupted = Reason.of(ReasonCode.DISRUPTED, where="", detail=detail)
    if disrupted is not None:
        return FailureClass.INFRASTRUCTURE, disrupted
    failed = [pod for pod in pods if pod.status.phase == "Failed"]
    if not failed:
        detail = f": {one_line(ended.message)}" if ended is not None and ended.message else ""
        return FailureClass.INFRASTRUCTURE, Reason.of(ReasonCode.PODS_GONE, detail=detail)
    newest = max(failed, key=creation_key)
    together = [pod for pod in failed if pod.metadata.labels.get(JOB_INDEX) is not None]
    cause = min(together, key=_end_key) if together else newest
    return _explain_pod_failure(cause)


def _ended_by_disruption(ended: ObjectCondition) -> bool:
    """Return whether the rule for disruptions ended the Job.

    Kubernetes names the rule in the condition's message alone ("… has condition DisruptionTarget
    matching FailJob rule at index 0"); the reason says only that a rule did.
    """
    return ended.reason == "PodFailurePolicy" and _DISRUPTED in ended.message


def _end_key(pod: Pod) -> str:
    ended = find_end(pod)
    return ended.finished_at.isoformat() if ended and ended.finished_at else "9"


def _where(pod: Pod) -> str:
    return f" on {pod.spec.node_name}" if pod.spec.node_name else ""


def _explain_pod_failure(pod: Pod) -> Failure:
    match pod.status.reason:
        case "DeadlineExceeded":
            return _explain_deadline(pod)
        case "Evicted":
            return _explain_eviction(pod)
    return _explain_init_failure(pod) or _explain_command_failure(pod)


def _explain_deadline(pod: Pod) -> Failure:
    late = ReasonCode.START_DEADLINE_EXCEEDED
    if not has_started(pod):
        cause = explain_waiting(pod) or "its command had not started"
        return FailureClass.INFRASTRUCTURE, Reason.of(late, when=" before it started", cause=cause)
    ended = find_termination(pod)
    if ended is not None and ended.failure is FailureClass.INFRASTRUCTURE and not ended.began:
        return FailureClass.INFRASTRUCTURE, Reason.of(late, when="", cause=ended.message)
    seconds = pod.spec.active_deadline_seconds or "?"
    return FailureClass.COMMAND, Reason.of(ReasonCode.DEADLINE_EXCEEDED, seconds=seconds)


def _explain_eviction(pod: Pod) -> Failure:
    detail = one_line(pod.status.message)
    # A limit of the manifest or a shortage of the node: the kubelet gives both the reason Evicted.
    # Only its message tells them apart: "exceeds" of a limit, "low" of a node.
    if "exceed" in pod.status.message:
        return FailureClass.COMMAND, Reason.of(ReasonCode.LIMIT_EXCEEDED, detail=detail)
    reason = Reason.of(ReasonCode.EVICTED, where=_where(pod), detail=detail)
    return FailureClass.INFRASTRUCTURE, reason


def _explain_init_failure(pod: Pod) -> Failure | None:
    """Explain the failure of a container beside the command's, if any."""
    where = _where(pod)
    for init in pod.status.init_container_statuses:
        if init.name.startswith(SIDECAR_PREFIX) and init.restart_count:
            # The mounted directory is gone for the command, whatever it made of that.
            code = ReasonCode.MOUNT_FAILED
            return FailureClass.INFRASTRUCTURE, Reason.of(code, container=init.name, where=where)
        ended = init.state.terminated
        # A sidecar that an admission webhook has added is ended after the command, and says how.
        added = has_started(pod) and not init.name.startswith(SIDECAR_PREFIX)
        if ended is not None and ended.exit_code != 0 and not added:
            written = read_termination(ended.message)
            if written is not None and written.message:
                code = written.reason or ReasonCode.INFRASTRUCTURE_FAILED
                kind = written.failure or FailureClass.INFRASTRUCTURE
                return kind, Reason(code, recorded=written.message)
            return FailureClass.INFRASTRUCTURE, Reason.of(
                ReasonCode.INIT_CONTAINER_FAILED,
                container=init.name,
                exit_code=ended.exit_code,
                where=where,
                detail=one_line(ended.message or ended.reason),
            )
    return None


def _explain_command_failure(pod: Pod) -> Failure:
    ended = find_end(pod)
    if ended is None:
        detail = one_line(pod.status.message or pod.status.reason or "no reason was given")
        reason = Reason.of(ReasonCode.POD_FAILED, where=_where(pod), detail=detail)
        return FailureClass.INFRASTRUCTURE, reason
    if ended.reason == "OOMKilled":
        reason = Reason.of(ReasonCode.OUT_OF_MEMORY, exit_code=ended.exit_code)
        return FailureClass.COMMAND, reason
    if ended.reason in ("ContainerCannotRun", "StartError"):
        detail = one_line(ended.message)
        return FailureClass.COMMAND, Reason.of(ReasonCode.COMMAND_NOT_STARTED, detail=detail)
    written = read_termination(ended.message)
    if written is None:
        detail = f": {one_line(ended.message)}" if ended.message else ""
        code = ReasonCode.CONTAINER_EXITED
        reason = Reason.of(code, exit_code=ended.exit_code, detail=detail)
        # Of how a command or a build ended there is a message; without one, the container was
        # killed before its command began, or while it built.
        blameless = ended.exit_code in (INFRASTRUCTURE_EXIT, *_KILLED)
        return FailureClass.INFRASTRUCTURE if blameless else FailureClass.COMMAND, reason
    if written.state is TerminationState.BEGAN:
        code, where = ReasonCode.CONTAINER_KILLED, _where(pod)
        reason = Reason.of(code, where=where, exit_code=ended.exit_code)
        return FailureClass.INFRASTRUCTURE, reason
    return _explain_termination(written)


def _explain_termination(written: Termination) -> Failure:
    """Take over the wrapper's own sentence, with the command's last line."""
    kind = written.failure or FailureClass.COMMAND
    blamed = kind is FailureClass.COMMAND
    default = ReasonCode.COMMAND_FAILED if blamed else ReasonCode.INFRASTRUCTURE_FAILED
    text = written.message or f"its command ended with exit code {written.exit_code}"
    last = f": {one_line(written.last)}" if written.last else ""
    arguments = {"input": written.input} if written.input else {}
    return kind, Reason(written.reason or default, arguments, recorded=f"{text}{last}")


def one_line(text: str) -> str:
    """Return a text as one line of at most 500 printable characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
