"""Observation: turn a Job and its Pods into a run.

The functions are pure. :class:`RunCache` keeps their results.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from operator import is_

import msgspec

from reconciler.engine import EndRequest, FailureClass, Result, Run, RunPhase, read_end_request
from reconciler.engines.kubernetes.api_types import Job, ObjectMeta, Pod
from reconciler.engines.kubernetes.diagnostics import (
    JOB_INDEX,
    creation_key,
    explain_failure,
    explain_silence,
    explain_waiting,
    find_condition,
    find_end,
    find_termination,
    finished_at,
    has_started,
    is_running,
    started_at,
)
from reconciler.engines.kubernetes.job import EXECUTION_HASH, GPUS, OUTPUT, REQUEST_HASH
from reconciler.engines.kubernetes.queues import queued, since_admission
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import GROUP, ExecutionHash, Kind, ObjectRef, RequestHash, TaskKey, TaskKind

#: The annotation of a Job that a user has ended: an EndRequest.
END = f"{GROUP}/end"

#: As many as the schema of manifests admits.
_COUNT = re.compile("[0-9]{1,7}")
_DIGEST = re.compile("sha256:[0-9a-f]{64}")

_RUNNING = Reason.of(ReasonCode.RUNNING)
_POD_STARTING = Reason.of(ReasonCode.POD_STARTING)
_SUSPENDING = Reason.of(ReasonCode.RUN_SUSPENDING)
_OUTCOME_PENDING = Reason.of(ReasonCode.OUTCOME_PENDING)
_BUILD_RESULT_LOST = Reason.of(ReasonCode.BUILD_RESULT_LOST)


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Identity of a run, in its Job's and Pods' labels and annotations."""

    run: str
    task: TaskKind
    key: TaskKey
    execution_hash: ExecutionHash
    request_hash: RequestHash
    object: ObjectRef | None
    output: str | None
    namespace: str
    gpus: int


def identify(metadata: ObjectMeta, run: str) -> RunIdentity | None:
    """Read a run's identity; None if labels are missing or wrong.

    A Job or Pod without an identity is not the engine's, and is never changed.
    """
    labels, notes = metadata.labels, metadata.annotations
    try:
        task = TaskKind(labels[f"{GROUP}/task"])
        key = TaskKey(labels[f"{GROUP}/key"])
        execution_hash = ExecutionHash(notes[EXECUTION_HASH])
        request_hash = RequestHash(notes[REQUEST_HASH])
        of = (
            None
            if task is TaskKind.BUILD
            else ObjectRef(
                Kind(labels[f"{GROUP}/kind"]), metadata.namespace, labels[f"{GROUP}/name"]
            )
        )
    except (KeyError, ValueError):
        return None
    gpus = notes.get(GPUS, "")
    return RunIdentity(
        run=run,
        task=task,
        key=key,
        execution_hash=execution_hash,
        request_hash=request_hash,
        object=of,
        output=notes.get(OUTPUT),
        namespace=metadata.namespace,
        gpus=int(gpus) if _COUNT.fullmatch(gpus) else 0,
    )


def observe_run(
    job: Job, pods: Sequence[Pod], *, deleting: bool = False, disrupted: Reason | None = None
) -> Run | None:
    """Return a Job's run; None if the Job is not the engine's.

    ``deleting``: its deletion was requested and is not seen yet. ``disrupted``: the disruption of
    a pod of it that may be gone by now.
    """
    owner = identify(job.metadata, job.metadata.name)
    if owner is None:
        return None
    pods = sorted(pods, key=creation_key)
    ended = find_condition(job.status.conditions, "Complete", "Failed")
    written = [t for t in map(find_termination, pods) if t is not None]
    attempts = max([_count_attempts(pods), *(t.attempt for t in written)])
    placed = since_admission(job, pods)
    run = replace(
        _pending(owner),
        attempts=attempts,
        created=job.metadata.creation_timestamp,
        placed=min((at for pod in placed if (at := pod.status.start_time)), default=None),
        started=min((at for pod in placed if (at := started_at(pod))), default=None),
        deleting=deleting or job.metadata.deletion_timestamp is not None,
        log=_log(owner, max((t.attempt for t in written), default=0)),
    )
    request = read_end_request(job.metadata.annotations.get(END, ""))
    if ended is None:
        live = _observe_live(job, pods, run)
        return live if request is None else _ending(live, request)
    if any(not pod.is_over() for pod in pods):
        # The watch of Jobs is ahead of that of Pods, which has yet to say how the last one ended.
        silence = explain_silence(pods)
        return with_outcome_pending(run) if silence is None else _observe_live(job, pods, run)
    # Of a failure the Job's own time: its pods may go, and it must not change then.
    finished = job.status.completion_time or ended.last_transition_time or finished_at(pods)
    if ended.type == "Complete":
        result = _result(owner, pods)
        if result is not None or owner.task is not TaskKind.BUILD:
            return replace(run, phase=RunPhase.SUCCEEDED, finished=finished, result=result)
        kind, reason = FailureClass.INFRASTRUCTURE, _BUILD_RESULT_LOST
    elif request is not None:
        kind, reason = FailureClass.COMMAND, request.reason
    else:
        kind, reason = explain_failure(pods, ended, disrupted=disrupted)
    return replace(run, phase=RunPhase.FAILED, finished=finished, failure=kind, reason=reason)


def with_outcome_pending(run: Run) -> Run:
    """Return an ended run as live, until its pods' ends are seen."""
    return replace(
        run,
        phase=RunPhase.RUNNING if run.started is not None else RunPhase.PENDING,
        finished=None,
        failure=None,
        result=None,
        reason=_OUTCOME_PENDING,
    )


def _count_attempts(pods: Sequence[Pod]) -> int:
    """Count started attempts: each has one pod, or one of rank 0."""
    return sum(has_started(pod) for pod in pods if _rank(pod) == "0")


def _rank(pod: Pod) -> str:
    return pod.metadata.labels.get(JOB_INDEX, "0")


def _log(owner: RunIdentity, attempt: int) -> str | None:
    """Return the URL of the newest ended attempt's log.

    A build's log is in its pod alone.
    """
    if owner.task is TaskKind.BUILD or owner.output is None or attempt == 0:
        return None
    return f"{owner.output.rstrip('/')}/logs/attempt-{attempt}.log"


def observe_orphan(pods: Sequence[Pod], run: str) -> Run | None:
    """Return the run of a deleted Job, while its pods run."""
    left = [pod for pod in pods if not pod.is_over()]
    owner = identify(left[0].metadata, run) if left else None
    if owner is None:
        return None
    nodes = " and ".join(sorted({pod.spec.node_name for pod in left} - {""}))
    where = f" on {nodes}" if nodes else ""
    silence = explain_silence(left)
    return replace(
        _pending(owner),
        attempts=_count_attempts(left),
        deleting=True,
        phase=RunPhase.RUNNING,
        lost=silence is not None,
        reason=silence or Reason.of(ReasonCode.PODS_TERMINATING, where=where),
    )


def _pending(owner: RunIdentity) -> Run:
    """Return the run as its labels alone have it."""
    return Run(
        name=owner.run,
        task=owner.task,
        key=owner.key,
        execution_hash=owner.execution_hash,
        request_hash=owner.request_hash,
        object=owner.object,
        phase=RunPhase.PENDING,
        namespace=owner.namespace,
        gpus=owner.gpus,
    )


def _observe_live(job: Job, pods: Sequence[Pod], run: Run) -> Run:
    current = [pod for pod in pods if not pod.is_over()]
    if (silence := explain_silence(current)) is not None:
        return replace(run, phase=RunPhase.RUNNING, lost=True, reason=silence)
    if job.spec.suspend:
        if any(has_started(pod) for pod in current):
            # Its place is taken away; until they have ended its pods hold their GPUs.
            return replace(run, phase=RunPhase.RUNNING, reason=_SUSPENDING)
        since = find_condition(job.status.conditions, "Suspended")
        return replace(
            run,
            phase=RunPhase.PENDING,
            placed=None,
            started=None,
            suspended=since.last_transition_time if since is not None else None,
            reason=queued(job),
        )
    if any(is_running(pod) for pod in current):
        ranks = (explain_waiting(pod) for pod in current if not has_started(pod))
        behind = next((cause for cause in ranks if cause is not None), None)
        reason = _RUNNING if behind is None else Reason.of(ReasonCode.RANK_WAITING, cause=behind)
        return replace(run, phase=RunPhase.RUNNING, reason=reason)
    started = any(has_started(pod) for pod in pods)
    phase = RunPhase.RUNNING if started else RunPhase.PENDING
    return replace(run, phase=phase, reason=_explain_pending(job, pods, run.name))


def _ending(run: Run, request: EndRequest) -> Run:
    """Return a live run that a user has ended.

    One that waits in a queue has ended. It keeps the time since when it waits: its Job is there
    until it is deleted.
    """
    if run.lost or run.deleting:
        return run
    if run.suspended is None:
        return replace(run, reason=request.reason)
    return replace(
        run,
        phase=RunPhase.FAILED,
        finished=max(run.suspended, request.at or run.suspended),
        failure=FailureClass.COMMAND,
        reason=request.reason,
    )


def _explain_pending(job: Job, pods: Sequence[Pod], run: str) -> Reason:
    """Explain why no command of a live run is running."""
    current = (explain_waiting(pod) for pod in pods if not pod.is_over())
    waiting = next((cause for cause in current if cause is not None), None)
    if any(pod.status.phase == "Failed" for pod in pods):
        _, previous = explain_failure(pods, None)
        if waiting is None:
            return Reason.of(ReasonCode.RETRYING_ATTEMPT, cause=previous)
        code = ReasonCode.NEXT_ATTEMPT_WAITING
        return Reason.of(code, cause=waiting, previous=previous)
    if not pods and job.status.start_time is not None and not job.status.active:
        # The Job controller has seen the Job and made no pod; it gives the cause in events alone.
        return Reason.of(ReasonCode.POD_MISSING, job=run)
    return waiting or _POD_STARTING


def _result(owner: RunIdentity, pods: Sequence[Pod]) -> Result | None:
    """Return the run's result; None if it went with the pod.

    Without its metrics an artifact would be rejected, or not be the best, for good. The marker has
    them: a run that finds it tells them at once.
    """
    good = [pod for pod in pods if pod.status.phase == "Succeeded"]
    first = next((pod for pod in good if _rank(pod) == "0"), None)
    if owner.task is TaskKind.BUILD:
        return _image(owner, first)
    if first is None and owner.task is not TaskKind.LOAD:
        return None
    written = find_termination(first) if first is not None else None
    if written is None:
        return Result(url=owner.output)
    return Result(
        url=owner.output,
        metrics=written.metrics,
        gpu_seconds=written.gpu_seconds,
        warnings=written.warnings,
    )


def _image(owner: RunIdentity, pod: Pod | None) -> Result | None:
    """Return the image that a build reports, if its name is right.

    It must have a digest too.
    """
    ended = find_end(pod) if pod is not None else None
    try:
        image = msgspec.json.decode(ended.message if ended is not None else "", type=_Pushed).image
    except (msgspec.MsgspecError, RecursionError):
        return None
    name, _, digest = image.partition("@")
    pushed_to = (owner.output or "").rpartition(":")[0]
    if name != pushed_to or not _DIGEST.fullmatch(digest):
        return None
    written = find_termination(pod) if pod is not None else None
    return Result(image=image, warnings=written.warnings if written is not None else ())


class _Pushed(msgspec.Struct, frozen=True):
    image: str


@dataclass(frozen=True, slots=True)
class _Observed:
    objects: tuple[Job | Pod, ...]
    deleting: bool
    disrupted: Reason | None
    run: Run | None


class RunCache:
    """Runs as last observed, by the UID of their Job.

    Informers replace only objects that have changed, so that of a thousand Jobs those are observed
    anew which an event was about.
    """

    def __init__(self) -> None:
        self._observed: dict[str, _Observed] = {}

    def get(
        self, job: Job, pods: Sequence[Pod], *, deleting: bool, disrupted: Reason | None
    ) -> Run | None:
        """Return :func:`observe_run`'s run, the very same if no object changed."""
        objects: tuple[Job | Pod, ...] = (job, *pods)
        known = self._observed.get(job.metadata.uid)
        if (
            known is not None
            and (known.deleting, known.disrupted) == (deleting, disrupted)
            and len(known.objects) == len(objects)
            and all(map(is_, known.objects, objects))
        ):
            return known.run
        run = observe_run(job, pods, deleting=deleting, disrupted=disrupted)
        self._observed[job.metadata.uid] = _Observed(objects, deleting, disrupted, run)
        return run

    def retain(self, uids: AbstractSet[str]) -> None:
        """Forget all Jobs but these."""
        if len(self._observed) > len(uids):
            self._observed = {uid: entry for uid, entry in self._observed.items() if uid in uids}
