"""Logs of runs, from their pods while there are any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

import msgspec

from reconciler.engine import EngineError, LogOf, NoTail, Tail
from reconciler.engines.kubernetes.api_types import Pod, PodList
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.diagnostics import (
    JOB_INDEX,
    JOB_NAME,
    creation_key,
    find_termination,
    has_started,
)
from reconciler.engines.kubernetes.observer import identify
from reconciler.engines.kubernetes.pod_parts import CONTAINER

#: Bytes for which one more line is requested: the API takes the length of a log in lines.
LINE = 64


class PodLogs:
    """Reads the logs of pods, each by a connection of its own.

    Once a pod is gone its log is where the status says: in the artifact's directory, or nowhere if
    it was a build's.
    """

    def __init__(self, connect: Callable[[], Awaitable[Api]]) -> None:
        self._connect = connect

    async def tail(self, log: LogOf, longest: int) -> Tail | NoTail:
        """Return the end of the output of an attempt's rank."""
        if log.run is None:
            return _elsewhere(log, "It has no log yet")
        try:
            api = await self._connect()
            try:
                return await _tail(api, log, log.run, longest)
            finally:
                await api.close()
        except EngineError as error:
            return _elsewhere(log, f"Its pod's log cannot be read: {error}")


async def _tail(api: Api, log: LogOf, run: str, longest: int) -> Tail | NoTail:
    pod = pod_of_attempt(await started_pods(api, log, run), log.attempt)
    if pod is None:
        of = "its newest attempt" if log.attempt is None else f"attempt {log.attempt}"
        return _elsewhere(log, f"There is no pod of {of} in the cluster")
    name, lines = pod.metadata.name, longest // LINE
    data, dropped = await api.tail(
        log_path(log, pod),
        {"container": CONTAINER, "tailLines": str(lines)},
        longest=longest,
    )
    whole = not dropped and data.count(b"\n") < lines
    return Tail(data=data, where=f"pod {log.object.namespace}/{name}", whole=whole)


def pods_path(log: LogOf) -> str:
    """Return the path of the pods of a log's namespace."""
    return f"/api/v1/namespaces/{log.object.namespace}/pods"


def log_path(log: LogOf, pod: Pod) -> str:
    """Return the path of a pod's log."""
    return f"{pods_path(log)}/{quote(pod.metadata.name)}/log"


async def started_pods(api: Api, log: LogOf, run: str) -> list[Pod]:
    """Return the task's started pods of a rank, by age. Raises ApiError.

    Status files name runs, and more people may write them than may read all that is printed.
    """
    found = await api.get(pods_path(log), {"labelSelector": f"{JOB_NAME}={run}"})
    pods = msgspec.json.decode(found, type=PodList).items
    return sorted(
        (
            pod
            for pod in pods
            if (owner := identify(pod.metadata, run)) is not None
            and (owner.task, owner.object)
            == (log.task, None if owner.object is None else log.object)
            and pod.metadata.labels.get(JOB_INDEX, "0") == str(log.rank or 0)
            and has_started(pod)
        ),
        key=creation_key,
    )


def pod_of_attempt(begun: Sequence[Pod], attempt: int | None) -> Pod | None:
    """Return the pod of an attempt, or the newest.

    A pod says which attempt it was when it ends. One that runs is the newest, and a build's pods
    are numbered as they came.
    """
    if attempt is None:
        return begun[-1] if begun else None
    numbered = [
        (pod, ended.attempt) for pod in begun if (ended := find_termination(pod)) is not None
    ]
    if numbered:
        return next((pod for pod, number in numbered if number == attempt), None)
    return begun[attempt - 1] if attempt <= len(begun) else None


def _elsewhere(log: LogOf, why: str) -> NoTail:
    if log.url is None:
        return NoTail(f"{why}.")
    return NoTail(f"{why}; the newest log in its bucket is {log.url}")
