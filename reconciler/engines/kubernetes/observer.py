"""Observation: turn a Job and its Pods into the run that they are. Pure."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from operator import is_

import msgspec
import structlog

from reconciler.engine import FailureClass, Result, Run, RunPhase
from reconciler.engines.kubernetes.api_types import Job, ObjectMeta, Pod
from reconciler.engines.kubernetes.client import ApiError
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
from reconciler.engines.kubernetes.job import HOW, INTENT, OUTPUT
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import GROUP, How, Intent, Kind, ObjectRef, TaskKey, TaskKind

log = structlog.get_logger(__name__)

#: Times that the pods of one Job are asked for where they cannot be, and seconds in between.
TRIES = 10
PAUSE = 5.0

#: Brings the pods of a Job of that namespace and name into the picture. Raises ApiError.
Ask = Callable[[str, str], Awaitable[None]]

_DIGEST = re.compile("sha256:[0-9a-f]{64}")

_RUNNING = Reason.of(ReasonCode.RUNNING)
_POD_STARTING = Reason.of(ReasonCode.POD_STARTING)
_QUEUED = Reason.of(ReasonCode.QUEUED)
_OUTCOME_PENDING = Reason.of(ReasonCode.OUTCOME_PENDING)
_BUILD_RESULT_LOST = Reason.of(ReasonCode.BUILD_RESULT_LOST)


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The identity of a run in the labels and annotations of its Job or Pod."""

    run: str
    task: TaskKind
    key: TaskKey
    how: How
    intent: Intent
    object: ObjectRef | None
    output: str | None


def identify(metadata: ObjectMeta, run: str) -> RunIdentity | None:
    """Read a run's identity; None if labels are missing or wrong.

    A Job or Pod without an identity is not the engine's, and is never changed.
    """
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
    return RunIdentity(run, task, key, how, intent, of, notes.get(OUTPUT))


def observe_run(
    job: Job, pods: Sequence[Pod], *, deleting: bool = False, disrupted: Reason | None = None
) -> Run | None:
    """Return the run that a Job is; None if the Job is not the engine's.

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
    run = replace(
        _pending(owner),
        attempts=attempts,
        created=job.metadata.creation_timestamp,
        started=min((at for pod in pods if (at := started_at(pod))), default=None),
        deleting=deleting or job.metadata.deletion_timestamp is not None,
        log=_log(owner, max((t.attempt for t in written), default=0)),
    )
    if ended is None:
        return _observe_live(job, pods, run)
    if any(not pod.is_over() for pod in pods):
        # The watch of Jobs is ahead of that of Pods, which has yet to say how the last one ended.
        silence = explain_silence(pods)
        return with_outcome_pending(run) if silence is None else _observe_live(job, pods, run)
    # Of a failure the Job's own time: its pods may go, and it must not look like another one then.
    finished = job.status.completion_time or ended.last_transition_time or finished_at(pods)
    if ended.type == "Complete":
        result = _result(owner, pods)
        if result is not None:
            return replace(run, phase=RunPhase.SUCCEEDED, finished=finished, result=result)
        kind, reason = FailureClass.INFRASTRUCTURE, _BUILD_RESULT_LOST
    else:
        kind, reason = explain_failure(pods, ended, disrupted=disrupted)
    return replace(run, phase=RunPhase.FAILED, finished=finished, failure=kind, reason=reason)


def with_outcome_pending(run: Run) -> Run:
    """Return a run that has ended as live, until its pods say how it ended."""
    return replace(
        run,
        phase=RunPhase.RUNNING if run.started is not None else RunPhase.PENDING,
        finished=None,
        failure=None,
        result=None,
        reason=_OUTCOME_PENDING,
    )


def _count_attempts(pods: Sequence[Pod]) -> int:
    """Count the attempts that have started: each has one pod, or one of rank 0."""
    return sum(has_started(pod) for pod in pods if _rank(pod) == "0")


def _rank(pod: Pod) -> str:
    return pod.metadata.labels.get(JOB_INDEX, "0")


def _log(owner: RunIdentity, attempt: int) -> str | None:
    """Return the URL of the log of the newest attempt that has ended.

    A build's log is in its pod alone.
    """
    if owner.task is TaskKind.BUILD or owner.output is None or attempt == 0:
        return None
    return f"{owner.output.rstrip('/')}/logs/attempt-{attempt}.log"


def observe_orphan(pods: Sequence[Pod], run: str) -> Run | None:
    """Return a run whose Job was deleted while pods of it still run; None if none do."""
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
        how=owner.how,
        intent=owner.intent,
        object=owner.object,
        phase=RunPhase.PENDING,
    )


def _observe_live(job: Job, pods: Sequence[Pod], run: Run) -> Run:
    current = [pod for pod in pods if not pod.is_over()]
    if (silence := explain_silence(current)) is not None:
        return replace(run, phase=RunPhase.RUNNING, lost=True, reason=silence)
    if job.spec.suspend:
        return replace(run, phase=RunPhase.PENDING, reason=_QUEUED)
    if any(is_running(pod) for pod in current):
        ranks = (explain_waiting(pod) for pod in current if not has_started(pod))
        behind = next((cause for cause in ranks if cause is not None), None)
        reason = _RUNNING if behind is None else Reason.of(ReasonCode.RANK_WAITING, cause=behind)
        return replace(run, phase=RunPhase.RUNNING, reason=reason)
    started = any(has_started(pod) for pod in pods)
    phase = RunPhase.RUNNING if started else RunPhase.PENDING
    return replace(run, phase=phase, reason=_explain_pending(job, pods, run.name))


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
        # The Job controller has looked, and made no pod; it gives the cause in events alone.
        return Reason.of(ReasonCode.POD_MISSING, job=run)
    return waiting or _POD_STARTING


def _result(owner: RunIdentity, pods: Sequence[Pod]) -> Result | None:
    """Return the run's result. The marker has all of an artifact's, should the pod be gone."""
    good = [pod for pod in pods if pod.status.phase == "Succeeded"]
    first = next((pod for pod in good if _rank(pod) == "0"), None)
    if owner.task is TaskKind.BUILD:
        return _image(owner, first)
    written = find_termination(first) if first is not None else None
    if written is None:
        return Result(url=owner.output)
    metrics = written.metrics or {}
    return Result(url=owner.output, metrics=metrics, gpu_seconds=written.gpu_seconds)


def _image(owner: RunIdentity, pod: Pod | None) -> Result | None:
    """Return the image that a build reports, if it has the right name and a digest."""
    ended = find_end(pod) if pod is not None else None
    try:
        image = msgspec.json.decode(ended.message if ended is not None else "", type=_Pushed).image
    except msgspec.MsgspecError:
        return None
    name, _, digest = image.partition("@")
    pushed_to = (owner.output or "").rpartition(":")[0]
    return Result(image=image) if name == pushed_to and _DIGEST.fullmatch(digest) else None


class _Pushed(msgspec.Struct, frozen=True):
    image: str


@dataclass(frozen=True, slots=True)
class _Seen:
    objects: tuple[Job | Pod, ...]
    deleting: bool
    disrupted: Reason | None
    run: Run | None


class RunCache:
    """The runs as last seen, by the UID of their Job."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def of(
        self, job: Job, pods: Sequence[Pod], *, deleting: bool, disrupted: Reason | None
    ) -> Run | None:
        """As :func:`view` has it; the very same run where nothing is another."""
        objects: tuple[Job | Pod, ...] = (job, *pods)
        known = self._seen.get(job.metadata.uid)
        if (
            known is not None
            and (known.deleting, known.disrupted) == (deleting, disrupted)
            and len(known.objects) == len(objects)
            and all(map(is_, known.objects, objects))
        ):
            return known.run
        run = observe_run(job, pods, deleting=deleting, disrupted=disrupted)
        self._seen[job.metadata.uid] = _Seen(objects, deleting, disrupted, run)
        return run

    def keep(self, uids: AbstractSet[str]) -> None:
        """No other Jobs are there any more."""
        if len(self._seen) > len(uids):
            self._seen = {uid: seen for uid, seen in self._seen.items() if uid in uids}


class MissingPods:
    """The Jobs that are followed, by UID, and those whose pods are being asked for."""

    def __init__(self, ask: Ask, changed: Callable[[], None]) -> None:
        self._ask = ask
        self._changed = changed
        self._followed: set[str] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}

    def follow(self, uid: str) -> None:
        """A Job was live."""
        self._followed.add(uid)

    def keep(self, uids: set[str]) -> None:
        """No other Jobs are there any more."""
        self._followed &= uids

    def awaits(self, job: Job, pods: Sequence[Pod]) -> bool:
        """Whether how this Job ended is still to be found out; it is being looked for then."""
        uid = job.metadata.uid
        if uid not in self._followed:
            return False
        if any(pod.is_over() for pod in pods):
            self._followed.discard(uid)
            return False
        if uid not in self._asking:
            self._asking[uid] = asyncio.get_running_loop().create_task(self._look(job))
        return True

    async def stop(self) -> None:
        """Ask no more."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _look(self, job: Job) -> None:
        meta = job.metadata
        for _ in range(TRIES):
            try:
                await self._ask(meta.namespace, meta.name)
                break
            except ApiError as error:
                log.warning("a Job's pods cannot be asked for", job=meta.name, error=str(error))
                await asyncio.sleep(PAUSE)
        self._followed.discard(meta.uid)
        self._asking.pop(meta.uid, None)
        self._changed()
