"""A Job and its Pods, as the run that they are. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from reconciler.engine import FailureClass, Result, Run, RunPhase
from reconciler.engines.kubernetes.api_types import Job, Metadata, Pod
from reconciler.engines.kubernetes.diagnostics import (
    JOB_INDEX,
    age,
    condition,
    failure,
    finished_at,
    has_started,
    is_running,
    lost,
    one_line,
    started_at,
    stuck,
    terminated,
    termination,
)
from reconciler.engines.kubernetes.job import HOW, INTENT, OUTPUT
from reconciler.types import GROUP, How, Intent, Kind, ObjectRef, TaskKey, TaskKind

_DIGEST = re.compile("sha256:[0-9a-f]{64}")
MANAGED_BY = "app.kubernetes.io/managed-by"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a Job or Pod of ours says it is, by its labels and annotations."""

    run: str
    task: TaskKind
    key: TaskKey
    how: How
    intent: Intent
    object: ObjectRef | None
    output: str | None


def identity(metadata: Metadata, run: str) -> Identity | None:
    """Whose a Job or Pod is; None if labels are missing or wrong: then it is not ours to touch."""
    labels, notes = metadata.labels, metadata.annotations
    try:
        task = TaskKind(labels[f"{GROUP}/task"])
        key = TaskKey(labels[f"{GROUP}/key"])
        how = How(notes[HOW])
        intent = Intent(notes[INTENT])
        of = (
            None
            if task is TaskKind.BUILD
            else ObjectRef(
                Kind(labels[f"{GROUP}/kind"]), metadata.namespace, labels[f"{GROUP}/name"]
            )
        )
    except (KeyError, ValueError):
        return None
    return Identity(run, task, key, how, intent, of, notes.get(OUTPUT))


def view(
    job: Job, pods: Sequence[Pod], *, deleting: bool = False, disrupted: str | None = None
) -> Run | None:
    """The run that a Job is; None if it is not one of ours.

    ``deleting``: its deletion was asked for and is not seen yet. ``disrupted``: what befell a pod
    of it that may be gone by now.
    """
    who = identity(job.metadata, job.metadata.name)
    if who is None:
        return None
    pods = sorted(pods, key=age)
    ended = condition(job.status.conditions, "Complete", "Failed")
    told = [t for t in map(termination, pods) if t is not None]
    attempts = max([_started(pods), *(t.attempt for t in told)])
    run = replace(
        _run(who),
        attempts=attempts,
        created=job.metadata.creation_timestamp,
        started=min((at for pod in pods if (at := started_at(pod))), default=None),
        deleting=deleting or job.metadata.deletion_timestamp is not None,
        log=_log(who, max((t.attempt for t in told), default=0)),
    )
    if ended is None:
        return _live(job, pods, run)
    if any(not pod.is_over() for pod in pods):
        # The watch of Jobs is ahead of that of Pods, which has yet to tell how the last one ended.
        return unexplained(run) if lost(pods) is None else _live(job, pods, run)
    # Of a failure the Job's own time: its pods may go, and it must not look like another one then.
    finished = job.status.completion_time or ended.last_transition_time or finished_at(pods)
    if ended.type == "Complete":
        result = _result(who, pods)
        if result is not None:
            return replace(run, phase=RunPhase.SUCCEEDED, finished=finished, result=result)
        reason = "the build has ended, but its pod, which knew the image's digest, is gone"
        kind = FailureClass.INFRASTRUCTURE
    else:
        kind, reason = failure(pods, ended, disrupted=disrupted)
    return replace(run, phase=RunPhase.FAILED, finished=finished, failure=kind, reason=reason)


def unexplained(run: Run) -> Run:
    """A run that has ended, of which the pods have yet to tell how."""
    return replace(
        run,
        phase=RunPhase.RUNNING if run.started is not None else RunPhase.PENDING,
        finished=None,
        failure=None,
        result=None,
        reason="it has ended; how is not known yet",
    )


def _started(pods: Sequence[Pod]) -> int:
    """How many attempts have started: each has one pod, or one of rank 0."""
    return sum(has_started(pod) for pod in pods if _rank(pod) == "0")


def _rank(pod: Pod) -> str:
    return pod.metadata.labels.get(JOB_INDEX, "0")


def _log(who: Identity, attempt: int) -> str | None:
    """Where the log of the newest attempt that has ended is; a build's is only in its pod."""
    if who.task is TaskKind.BUILD or who.output is None or attempt == 0:
        return None
    return f"{who.output.rstrip('/')}/logs/attempt-{attempt}.log"


def orphan(pods: Sequence[Pod], run: str) -> Run | None:
    """A run whose Job was deleted while pods of it are still running; None if none are."""
    left = [pod for pod in pods if not pod.is_over()]
    who = identity(left[0].metadata, run) if left else None
    if who is None:
        return None
    nodes = " and ".join(sorted({pod.spec.node_name for pod in left} - {""}))
    ending = f"its pods are being ended{' on ' + nodes if nodes else ''}"
    unheard = lost(left)
    return replace(
        _run(who),
        attempts=_started(left),
        deleting=True,
        phase=RunPhase.RUNNING,
        lost=unheard is not None,
        reason=unheard or ending,
    )


def _run(who: Identity) -> Run:
    """All that its labels say of it."""
    return Run(
        name=who.run,
        task=who.task,
        key=who.key,
        how=who.how,
        intent=who.intent,
        object=who.object,
        phase=RunPhase.PENDING,
    )


def _live(job: Job, pods: Sequence[Pod], run: Run) -> Run:
    current = [pod for pod in pods if not pod.is_over()]
    if (unheard := lost(current)) is not None:
        return replace(run, phase=RunPhase.RUNNING, lost=True, reason=unheard)
    if job.spec.suspend:
        return replace(run, phase=RunPhase.PENDING, reason="queued: Kueue has not admitted it yet")
    if any(is_running(pod) for pod in current):
        behind = [reason for pod in current if not has_started(pod) and (reason := stuck(pod))]
        reason = f"running; {behind[0]}" if behind else "running"
        return replace(run, phase=RunPhase.RUNNING, reason=reason)
    started = any(has_started(pod) for pod in pods)
    reasons = [reason for pod in current if (reason := stuck(pod))]
    failed = [pod for pod in pods if pod.status.phase == "Failed"]
    reason = reasons[0] if reasons else "its pod is starting"
    if not pods and job.status.start_time is not None and not job.status.active:
        # The Job controller has looked, and no pod came of it; why, it tells in events alone.
        reason = f"it has no pod; where that lasts, `kubectl describe job {run.name}` says why"
    if failed:
        _, why = failure(pods, None)
        reason = f"{why}; the next attempt follows" if not reasons else f"{reason}; before: {why}"
    phase = RunPhase.RUNNING if started else RunPhase.PENDING
    return replace(run, phase=phase, reason=one_line(reason))


def _result(who: Identity, pods: Sequence[Pod]) -> Result | None:
    """What the run left. Of an artifact the marker has it all, should the pod be gone."""
    good = [pod for pod in pods if pod.status.phase == "Succeeded"]
    first = next((pod for pod in good if _rank(pod) == "0"), None)
    if who.task is TaskKind.BUILD:
        return _image(who, first)
    told = termination(first) if first is not None else None
    if told is None:
        return Result(url=who.output)
    return Result(url=who.output, metrics=told.metrics or {}, gpu_seconds=told.gpu_seconds)


def _image(who: Identity, pod: Pod | None) -> Result | None:
    """The image that a build says it has pushed: of the right name, and by its digest."""
    ended = terminated(pod) if pod is not None else None
    try:
        image = msgspec.json.decode(ended.message if ended is not None else "", type=_Built).image
    except msgspec.MsgspecError:
        return None
    name, _, digest = image.partition("@")
    pushed_to = (who.output or "").rpartition(":")[0]
    return Result(image=image) if name == pushed_to and _DIGEST.fullmatch(digest) else None


class _Built(msgspec.Struct, frozen=True):
    image: str
