"""Progress of copies between a staged run's disk and its bucket.

A pod has one way to say something while it runs without rights in the cluster: its log. While the
wrapper copies, the command is not running, and the log's last line is the wrapper's
(``staged.sh``). That line is requested of each staged pod now and then: one request at a time, at
most one a second for all pods together. A command that prints such a line is believed: it says
something wrong of itself alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote

import structlog

from reconciler.backoff import Backoff, jittered
from reconciler.engines.kubernetes.api_errors import ApiError
from reconciler.engines.kubernetes.api_types import Pod
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.command_pod import STAGED_ANNOTATION
from reconciler.engines.kubernetes.diagnostics import JOB_INDEX, is_running
from reconciler.engines.kubernetes.pod_parts import CONTAINER
from reconciler.reasons import Reason, ReasonCode

log = structlog.get_logger(__name__)

#: Seconds between two requests, of whatever pods.
PAUSE = 1.0
#: Seconds between two looks at a pod whose command runs.
IDLE = 30.0
#: The same while it copies. Each may be a status commit, so they become rarer.
COPYING = Backoff(first=10.0, longest=60.0)
#: Bytes of a last line; a longer one is the command's.
_LONGEST = 1000
_COPY = re.compile(
    rb"\[reconciler\] (copying|restoring) (\d{1,9}) of (\d{1,9}) files, (\d{1,3}) %\n?"
)
_UPLOAD = re.compile(rb"\[reconciler\] uploading, (\d{1,9}) files left\n?")
_CODES = {b"copying": ReasonCode.COPYING_OUT, b"restoring": ReasonCode.COPYING_IN}


def read_progress(line: bytes) -> Reason | None:
    """Read a log's last line; None if it says no progress."""
    if (copy := _COPY.fullmatch(line)) is not None:
        word, done, files, percent = copy.groups()
        return Reason.of(_CODES[word], done=int(done), files=int(files), percent=int(percent))
    if (upload := _UPLOAD.fullmatch(line)) is not None:
        return Reason.of(ReasonCode.UPLOADING, files=int(upload[1]))
    return None


@dataclass(slots=True)
class _Followed:
    """A running pod; ``due`` is the loop's time of the next look."""

    due: float
    reason: Reason | None = None
    copied: int = 0


class CopyWatch:
    """Follows the copies of running pods.

    ``changed`` is called when one has got further.
    """

    def __init__(
        self, api: Api, pods: Callable[[], Iterable[Pod]], changed: Callable[[], None]
    ) -> None:
        self._api = api
        self._pods = pods
        self._changed = changed
        self._followed: dict[str, _Followed] = {}
        self._news = asyncio.Event()

    def notice(self) -> None:
        """Take note that pods have changed."""
        self._news.set()

    def reason(self, pods: Sequence[Pod]) -> Reason | None:
        """Return the progress of a run's copies; None while none is seen."""
        found = (self._followed.get(pod.metadata.uid) for pod in pods if is_running(pod))
        return next((one.reason for one in found if one is not None and one.reason), None)

    async def run(self) -> NoReturn:
        """Look at the pods, one after the other."""
        while True:
            self._news.clear()
            staged = {pod.metadata.uid: pod for pod in self._pods() if _copies(pod)}
            now = asyncio.get_running_loop().time()
            self._followed = {
                uid: self._followed.get(uid) or _Followed(now + COPYING.first) for uid in staged
            }
            if not self._followed:
                await self._news.wait()
                continue
            uid, first = min(self._followed.items(), key=lambda item: item[1].due)
            if first.due <= now:
                await self._look(staged[uid], first)
            nearest = min(one.due for one in self._followed.values())
            await asyncio.sleep(min(max(nearest - now, PAUSE), COPYING.first))

    async def _look(self, pod: Pod, followed: _Followed) -> None:
        reason = None
        try:
            reason = read_progress(await self._last_line(pod))
        except ApiError as error:
            log.debug("the log of a pod cannot be read", pod=pod.metadata.name, error=str(error))
        followed.copied = followed.copied + 1 if reason is not None else 0
        pause = COPYING.delay(followed.copied) if reason is not None else jittered(IDLE)
        followed.due = asyncio.get_running_loop().time() + pause
        if reason != followed.reason:
            followed.reason = reason
            self._changed()

    async def _last_line(self, pod: Pod) -> bytes:
        meta = pod.metadata
        path = f"/api/v1/namespaces/{meta.namespace}/pods/{quote(meta.name)}/log"
        query = {"container": CONTAINER, "tailLines": "1", "limitBytes": str(_LONGEST)}
        line, _ = await self._api.tail(path, query, longest=_LONGEST)
        return line


def _copies(pod: Pod) -> bool:
    """Return whether a pod's wrapper may copy now.

    Only rank 0's does, in a staged run.
    """
    meta = pod.metadata
    return (
        meta.annotations.get(STAGED_ANNOTATION) == "true"
        and meta.labels.get(JOB_INDEX, "0") == "0"
        and is_running(pod)
    )
