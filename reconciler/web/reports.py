"""Reports of progress from pods, by the protocol of Kubeflow Trainer.

``POST /progress/<run>`` with the run's token takes a report; ``GET`` gives its curves as the file
that is kept, or with ``Accept: text/plain`` the whole seconds since the last usable report.

The wrapper says with each request for how long its attempt has lasted, in whole seconds. One that
has had curves already asks for newer ones with ``If-Match: "kept"``: 412 means that this daemon
gave it none, and it posts them as ``application/jsonl``. The answer has them with what came since.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from reconciler.engine import LONGEST_REPORT, report_token

#: The media type of curves, and bytes of those that are handed back: what their bounds allow.
CURVES_TYPE = "application/jsonl"
LONGEST_KEPT = 8 << 20
#: The header with the seconds since the beginning of an attempt.
SECONDS_HEADER = "X-Reconciler-Seconds"


class ReportStore(Protocol):
    """The reports of an engine's live runs."""

    def knows(self, run: str) -> bool:
        """Return whether a run is live."""
        ...

    def take(self, run: str, data: bytes) -> None:
        """Take a report."""
        ...

    def age(self, run: str) -> float | None:
        """Return the seconds since the last usable report; None without one."""
        ...

    def date(self, run: str, seconds: float) -> None:
        """Learn for how long a run's attempt has lasted."""
        ...

    def fetch(self, run: str) -> str:
        """Return the curves as a file, for the wrapper; empty without any."""
        ...

    def was_fetched(self, run: str) -> bool:
        """Return whether the wrapper has had curves of this attempt from here."""
        ...

    def hand_back(self, run: str, lines: Sequence[bytes]) -> None:
        """Take the curves that the wrapper had from an earlier daemon."""
        ...


@dataclass(slots=True, kw_only=True)
class Reports:
    """The handlers of reports.

    ``key`` reads the key that tokens are derived from; without one no token is right.
    """

    store: ReportStore
    key: Callable[[], bytes]

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        path = "/progress/{run:[a-z0-9][-a-z0-9.]{0,199}}"
        return [
            web.post(path, self._post),
            web.get(path, self._get, allow_head=False),
        ]

    async def _post(self, request: web.Request) -> web.Response:
        run = request.match_info["run"]
        if (refused := self._refusal(request, run)) is not None:
            return refused
        self._date(request, run)
        if request.content_type == CURVES_TYPE:
            kept = await _body(request, LONGEST_KEPT)
            if kept is None:
                return _answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            self.store.hand_back(run, kept.splitlines(keepends=True))
            return self._curves(run)
        data = await _body(request, LONGEST_REPORT)
        self.store.take(run, data or b"")  # one that is too long is counted
        return _answer(HTTPStatus.OK if data is not None else HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    async def _get(self, request: web.Request) -> web.Response:
        run = request.match_info["run"]
        if (refused := self._refusal(request, run)) is not None:
            return refused
        self._date(request, run)
        if request.headers.get("Accept") == "text/plain":
            age = self.store.age(run)
            return web.Response(text="none\n" if age is None else f"{age:.0f}\n")
        if "If-Match" in request.headers and not self.store.was_fetched(run):
            return _answer(HTTPStatus.PRECONDITION_FAILED)
        return self._curves(run)

    def _curves(self, run: str) -> web.Response:
        return web.Response(text=self.store.fetch(run), content_type=CURVES_TYPE)

    def _date(self, request: web.Request, run: str) -> None:
        seconds = request.headers.get(SECONDS_HEADER, "")
        if seconds.isascii() and seconds.isdigit() and len(seconds) < 10:
            self.store.date(run, float(seconds))

    def _refusal(self, request: web.Request, run: str) -> web.Response | None:
        key = self.key()
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        right = report_token(key, run) if key else ""
        if not right or not hmac.compare_digest(
            sent.encode("utf-8", "surrogateescape"), right.encode()
        ):
            return _answer(HTTPStatus.UNAUTHORIZED)
        return None if self.store.knows(run) else _answer(HTTPStatus.NOT_FOUND)


async def _body(request: web.Request, longest: int) -> bytes | None:
    """Read a body; None if it is longer."""
    data = b""
    if (request.content_length or 0) > longest:
        return None
    async for part in request.content.iter_any():
        data += part
        if len(data) > longest:
            return None
    return data


def _answer(status: HTTPStatus) -> web.Response:
    return web.Response(text=f"{status.phrase}\n", status=status)
