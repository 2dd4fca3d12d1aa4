"""Logs of runs, from their pods, whole or while they grow.

A stream of a log breaks: with its node, its API server, a proxy between. So lines are requested
with their times, and the next stream begins after the last line that was read.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from reconciler.engine import EngineError, LogOf, NoTail, OpenedLog, Tail
from reconciler.engines.kubernetes.api_errors import NotFound
from reconciler.engines.kubernetes.api_types import Pod, PodList
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.diagnostics import (
    JOB_INDEX,
    JOB_NAME,
    creation_key,
    find_termination,
    has_started,
    is_running,
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


#: Seconds of silence after which a stream is opened again.
SILENCE = 300.0
#: Bytes of a line that are kept until its end is there.
_LONGEST_LINE = 64 << 10
_STAMP = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?", re.ASCII
)

#: Seconds since 1970, and nanoseconds.
Stamp = tuple[int, int]


@dataclass(slots=True)
class Position:
    """The last line that was read, by its time.

    ``count`` lines had that time.
    """

    last: Stamp = (0, 0)
    count: int = 0

    def take(self, stamp: Stamp | None, passed: int) -> tuple[bool, int]:
        """Test whether a line is new; count those of its time."""
        if stamp is None:
            return True, passed
        if stamp < self.last:
            return False, 0
        passed = passed + 1 if stamp == self.last else 1
        if stamp == self.last and passed <= self.count:
            return False, passed
        self.last, self.count = stamp, passed
        return True, passed

    def since(self) -> dict[str, str]:
        """Return the query for the lines from that second on."""
        if not self.count:
            return {}
        return {"sinceTime": f"{datetime.fromtimestamp(self.last[0], UTC):%Y-%m-%dT%H:%M:%SZ}"}


class FollowedPodLogs:
    """The output of a run's pods of one rank, by age.

    The first is the newest, from its last ``lines`` on (0: from its beginning), or that of the
    attempt that is asked for.
    """

    def __init__(self, connect: Callable[[], Awaitable[Api]], lines: int) -> None:
        self._connect = connect
        self._lines = lines
        self._pod: tuple[str, str] | None = None
        self._read_whole = False
        self._position = Position()
        self.finished = False

    async def poll(self, log: LogOf) -> AsyncGenerator[OpenedLog | bytes]:
        """Iterate over new output, until the newest pod's stream ends.

        Raises EngineError.
        """
        if log.run is None:
            return
        api = await self._connect()
        try:
            while (pod := self._next(await started_pods(api, log, log.run), log)) is not None:
                if creation_key(pod) != self._pod:
                    self._pod, self._read_whole = creation_key(pod), False
                    self._position = Position()
                    yield OpenedLog(f"pod {log.object.namespace}/{pod.metadata.name}")
                # Of a pod that is over already a stream that ends is the whole log.
                over = not is_running(pod)
                try:
                    async with aclosing(self._stream(api, log, pod)) as pieces:
                        async for piece in pieces:
                            yield piece
                except NotFound:  # it was deleted in between
                    return
                if not over:
                    return
                self._read_whole = True
        finally:
            await api.close()

    def _next(self, started: list[Pod], log: LogOf) -> Pod | None:
        if log.attempt is not None:
            self.finished = self._read_whole
            return None if self.finished else pod_of_attempt(started, log.attempt)
        if self._pod is None:
            return started[-1] if started else None
        after = (pod for pod in started if creation_key(pod) > self._pod)
        same = (pod for pod in started if creation_key(pod) == self._pod)
        return next(after if self._read_whole else same, None) or next(after, None)

    async def _stream(self, api: Api, log: LogOf, pod: Pod) -> AsyncGenerator[bytes]:
        query = {"container": CONTAINER, "follow": "true", "timestamps": "true"}
        query |= self._position.since()
        if self._lines:
            query["tailLines"] = str(self._lines)
        async with api.follow(log_path(log, pod), query, silence=SILENCE) as pieces:
            self._lines = 0
            async for text in unread(pieces, self._position):
                yield text


async def unread(pieces: AsyncIterator[bytes], position: Position) -> AsyncGenerator[bytes]:
    """Iterate over lines after a position, which is moved.

    A line longer than ``_LONGEST_LINE`` comes in parts, and the last may have no end.
    """
    passed = 0  # lines of this stream that have the time of the position
    pending, inside, shown = b"", False, False
    async for piece in pieces:
        pending += piece
        while pending:
            line, end, rest = pending.partition(b"\n")
            if not end and len(line) < _LONGEST_LINE:
                break
            if not inside:
                stamp, line = _stamped(line)
                shown, passed = position.take(stamp, passed)
            inside, pending = not end, rest
            if shown:
                yield line + end
    if pending and not inside:
        stamp, pending = _stamped(pending)
        shown, _ = position.take(stamp, passed)
    if pending and shown:
        yield pending


def _stamped(line: bytes) -> tuple[Stamp | None, bytes]:
    """Split a line into its time, if it has one, and text."""
    found = _STAMP.match(line)
    if found is None:
        return None, line
    try:
        at = datetime.fromisoformat((found[1] + found[3].replace(b"Z", b"+00:00")).decode())
        return (int(at.timestamp()), int((found[2] or b"").ljust(9, b"0"))), line[found.end() :]
    except (ValueError, OverflowError):
        return None, line
