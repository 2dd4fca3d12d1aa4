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
        """Return the end of an attempt's output, of several nodes' rank 0's."""
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
    pods = f"/api/v1/namespaces/{log.object.namespace}/pods"
    found = await api.get(pods, {"labelSelector": f"{JOB_NAME}={run}"})
    pod = _pod(_of(log, run, msgspec.json.decode(found, type=PodList).items), log.attempt)
    if pod is None:
        of = "its newest attempt" if log.attempt is None else f"attempt {log.attempt}"
        return _elsewhere(log, f"There is no pod of {of} in the cluster")
    name, lines = pod.metadata.name, longest // LINE
    data, dropped = await api.tail(
        f"{pods}/{quote(name)}/log",
        {"container": CONTAINER, "tailLines": str(lines)},
        longest=longest,
    )
    whole = not dropped and data.count(b"\n") < lines
    return Tail(data=data, where=f"pod {log.object.namespace}/{name}", whole=whole)


def _of(log: LogOf, run: str, pods: Sequence[Pod]) -> list[Pod]:
    """Return the task's pods of rank 0 that have started, by age.

    Status files name runs, and more people may write them than may read all that is printed.
    """
    return sorted(
        (
            pod
            for pod in pods
            if (owner := identify(pod.metadata, run)) is not None
            and (owner.task, owner.object)
            == (log.task, None if owner.object is None else log.object)
            and pod.metadata.labels.get(JOB_INDEX, "0") == "0"
            and has_started(pod)
        ),
        key=creation_key,
    )


def _pod(begun: Sequence[Pod], attempt: int | None) -> Pod | None:
    """The pod of an attempt, None for the newest.

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
