"""What a Pod says about the attempt that it is, and why it does not go on. Pure.

What went wrong is said in one sentence that a person can act on, and told apart by whose fault it
is: the command's failures are remembered, all others are tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from reconciler.engine import FailureClass
from reconciler.engines.kubernetes.api_types import Condition, ContainerStatus, Pod, Terminated
from reconciler.engines.kubernetes.buckets.rclone import SIDECAR_PREFIX
from reconciler.engines.kubernetes.pod_parts import CONTAINER
from reconciler.engines.kubernetes.termination import (
    Termination,
    TerminationState,
    read_termination,
)
from reconciler.engines.kubernetes.wrapper import INFRASTRUCTURE_EXIT

JOB_NAME = "batch.kubernetes.io/job-name"
JOB_UID = "batch.kubernetes.io/controller-uid"
JOB_INDEX = "batch.kubernetes.io/job-completion-index"
_LONGEST = 500
#: Exit codes of a container that somebody ends: by SIGKILL, by SIGTERM.
_KILLED = (137, 143)

#: Waiting reasons of a container whose image is not to be had.
_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def job_of(pod: Pod) -> str:
    """The name of the Job that a pod belongs to."""
    return pod.metadata.labels.get(JOB_NAME, "")


def job_uid(pod: Pod) -> str:
    """Tells that Job from an earlier one of its name, whose pods may outlive it."""
    return pod.metadata.labels.get(JOB_UID, "")


def age(pod: Pod) -> tuple[str, str]:
    """Sorts pods by when they were made."""
    created = pod.metadata.creation_timestamp
    return created.isoformat() if created else "", pod.metadata.name


def _main(pod: Pod) -> ContainerStatus | None:
    return next((c for c in pod.status.container_statuses if c.name == CONTAINER), None)


def terminated(pod: Pod) -> Terminated | None:
    """How its command ended, if it has."""
    main = _main(pod)
    if main is None:
        return None
    return main.state.terminated or main.last_state.terminated


def termination(pod: Pod) -> Termination | None:
    """What the wrapper said at the end, if it did."""
    ended = terminated(pod)
    return read_termination(ended.message) if ended is not None else None


def is_running(pod: Pod) -> bool:
    """Whether its command runs now."""
    main = _main(pod)
    return main is not None and main.state.running is not None


def lost(pods: Iterable[Pod]) -> str | None:
    """Why nobody knows whether these pods still run; None if their nodes answer.

    When a node is not heard of, Kubernetes takes the condition Ready off its pods and leaves what
    its kubelet last said of their containers: no kubelet ever says those two things at once.
    """
    silent = {pod.spec.node_name for pod in pods if not pod.is_over() and _unheard(pod)}
    if not silent:
        return None
    nodes = " and ".join(sorted(silent))
    return (
        f"nothing is heard of {nodes}, where its pod may still run; the next attempt waits until "
        "the cluster gives that up (where a node is gone for good, delete its Node object)"
    )


def _unheard(pod: Pod) -> bool:
    said = {c.type: (c.status, c.reason) for c in pod.status.conditions}
    return said.get("Ready") == ("False", "") and said.get("ContainersReady", ("",))[0] == "True"


def started_at(pod: Pod) -> datetime | None:
    """When its command started, if it has."""
    main = _main(pod)
    if main is None:
        return None
    if main.state.running is not None:
        return main.state.running.started_at
    ended = terminated(pod)
    return ended.started_at if ended else None


def has_started(pod: Pod) -> bool:
    """Whether its command was ever started."""
    return is_running(pod) or started_at(pod) is not None


def finished_at(pods: Iterable[Pod]) -> datetime | None:
    """When the last of their commands ended."""
    times = [e.finished_at for pod in pods if (e := terminated(pod)) and e.finished_at]
    return max(times, default=None)


def condition(conditions: Iterable[Condition], *types: str) -> Condition | None:
    """The first condition of these types that is true."""
    return next((c for c in conditions if c.type in types and c.status == "True"), None)


def stuck(pod: Pod) -> str | None:
    """Why a pod's command has not started; None where it is only starting."""
    unscheduled = next(
        (c for c in pod.status.conditions if c.type == "PodScheduled" and c.status == "False"), None
    )
    if unscheduled is not None:
        return f"no node can take it: {one_line(unscheduled.message or unscheduled.reason)}"
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting
        if waiting is None or waiting.reason in ("", "PodInitializing", "ContainerCreating"):
            continue
        detail = one_line(waiting.message or waiting.reason)
        if waiting.reason in _PULL:
            return f"the image {status.image} cannot be pulled: {detail}"
        if waiting.reason == "CreateContainerConfigError":
            return f"its container cannot be made: {detail}"
        if waiting.reason == "CrashLoopBackOff":
            return f"the container {status.name} fails again and again: {detail}"
        return f"the container {status.name} waits: {waiting.reason}: {detail}"
    return None


def disruption(pods: Iterable[Pod]) -> str | None:
    """Why the first of these pods was disrupted; None if none was. Soon after, it is gone.

    One that is neither over nor deleted may yet be spared: the condition is then taken back.
    """
    for pod in pods:
        disrupted = condition(pod.status.conditions, "DisruptionTarget")
        ends = pod.is_over() or pod.metadata.deletion_timestamp is not None
        if disrupted is not None and ends:
            detail = one_line(disrupted.message or disrupted.reason)
            return f"its pod was disrupted{_where(pod)}: {detail}"
    return None


def failure(
    pods: Sequence[Pod], ended: Condition | None, *, disrupted: str | None = None
) -> tuple[FailureClass, str]:
    """Whose fault the newest failed pod is, and why it failed.

    ``disrupted`` is what :func:`disruption` said before. A rank that is evicted takes the others'
    commands with it, which fail on their own account, perhaps even before it has ended. Of
    ranks that failed together otherwise the first one to end is the cause.
    """
    told = disruption(pods) or disrupted
    if told is not None:
        return FailureClass.INFRASTRUCTURE, told
    told = f": {ended.message}" if ended is not None and ended.message else ""
    if "DisruptionTarget" in told:  # the rule that ended the Job, which names no more
        return FailureClass.INFRASTRUCTURE, (
            "its pod was disrupted: evicted, preempted, or its node was lost"
        )
    failed = [pod for pod in pods if pod.status.phase == "Failed"]
    if not failed:
        return FailureClass.INFRASTRUCTURE, f"its pods are gone{told}"
    newest = max(failed, key=age)
    together = [pod for pod in failed if pod.metadata.labels.get(JOB_INDEX) is not None]
    cause = min(together, key=_ended_first) if together else newest
    return _pod_failure(cause)


def _ended_first(pod: Pod) -> str:
    ended = terminated(pod)
    return ended.finished_at.isoformat() if ended and ended.finished_at else "9"


def _where(pod: Pod) -> str:
    return f" on {pod.spec.node_name}" if pod.spec.node_name else ""


def _pod_failure(pod: Pod) -> tuple[FailureClass, str]:
    where = _where(pod)
    status = pod.status
    if status.reason == "DeadlineExceeded":
        if not has_started(pod):
            why = stuck(pod) or "its command had not started"
            return FailureClass.INFRASTRUCTURE, f"its timeout passed before it started: {why}"
        told = termination(pod)
        if told is not None and told.failure is FailureClass.INFRASTRUCTURE and not told.began:
            return FailureClass.INFRASTRUCTURE, f"its timeout passed: {told.message}"
        seconds = pod.spec.active_deadline_seconds
        return FailureClass.COMMAND, f"it did not end within its timeout of {seconds}s"
    if status.reason == "Evicted":
        detail = one_line(status.message)
        # The kubelet says "exceeds" of a limit that the manifest set, and "low" of a node.
        if "exceed" in status.message:
            return FailureClass.COMMAND, f"evicted: {detail}; raise resources.disk or shm"
        return FailureClass.INFRASTRUCTURE, f"evicted{where}: {detail}"
    for init in status.init_container_statuses:
        if init.name.startswith(SIDECAR_PREFIX) and init.restart_count:
            # What was mounted to be read is gone for the command, whatever it made of that.
            return FailureClass.INFRASTRUCTURE, f"the mount by {init.name} broke{where}"
        ended = init.state.terminated
        # A sidecar that somebody else has added is told to end after the command, and says how.
        added = has_started(pod) and not init.name.startswith(SIDECAR_PREFIX)
        if ended is not None and ended.exit_code != 0 and not added:
            told = read_termination(ended.message)
            if told is not None and told.message:
                return FailureClass.INFRASTRUCTURE, told.message
            detail = one_line(ended.message or ended.reason)
            return (
                FailureClass.INFRASTRUCTURE,
                f"the container {init.name} failed ({ended.exit_code}){where}: {detail}",
            )
    return _command_failure(pod, where)


def _command_failure(pod: Pod, where: str) -> tuple[FailureClass, str]:
    ended = terminated(pod)
    if ended is None:
        detail = one_line(pod.status.message or pod.status.reason or "no reason was given")
        return FailureClass.INFRASTRUCTURE, f"its pod failed{where}: {detail}"
    if ended.reason == "OOMKilled":
        return (
            FailureClass.COMMAND,
            f"it ran out of memory (exit code {ended.exit_code}); raise resources.memory",
        )
    if ended.reason in ("ContainerCannotRun", "StartError"):
        return FailureClass.COMMAND, f"its command could not be started: {one_line(ended.message)}"
    told = read_termination(ended.message)
    if told is None:
        detail = f": {one_line(ended.message)}" if ended.message else ""
        # Of how a command or a build ended there is a message; without one, the container was
        # killed before its command began, or while it built.
        blameless = ended.exit_code in (INFRASTRUCTURE_EXIT, *_KILLED)
        kind = FailureClass.INFRASTRUCTURE if blameless else FailureClass.COMMAND
        return kind, f"it ended with exit code {ended.exit_code}{detail}"
    if told.state is TerminationState.BEGAN:
        return (
            FailureClass.INFRASTRUCTURE,
            f"its container was killed{where} (exit code {ended.exit_code})",
        )
    reason = told.message or f"its command ended with exit code {told.exit_code}"
    if told.last:
        reason += f": {one_line(told.last)}"
    return told.failure or FailureClass.COMMAND, reason


def one_line(text: str) -> str:
    """One line, without control characters, of a bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
