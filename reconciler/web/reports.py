"""Reports of progress from pods, by the protocol of Kubeflow Trainer.

``POST /progress/<run>`` with the run's token takes a report; ``GET`` gives its curves as the file
that is kept, or with ``Accept: text/plain`` the whole seconds since the last usable report.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from reconciler.engine import LONGEST_REPORT, report_token


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

    def lines(self, run: str) -> str:
        """Return the curves as a file; empty without a point."""
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
        data = b""
        if (request.content_length or 0) <= LONGEST_REPORT:
            async for part in request.content.iter_any():
                data += part
                if len(data) > LONGEST_REPORT:
                    break
            else:
                self.store.take(run, data)
                return _answer(HTTPStatus.OK)
        self.store.take(run, b"")  # to be counted
        return _answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    async def _get(self, request: web.Request) -> web.Response:
        run = request.match_info["run"]
        if (refused := self._refusal(request, run)) is not None:
            return refused
        if request.headers.get("Accept") == "text/plain":
            age = self.store.age(run)
            return web.Response(text="none\n" if age is None else f"{age:.0f}\n")
        return web.Response(text=self.store.lines(run), content_type="application/jsonl")

    def _refusal(self, request: web.Request, run: str) -> web.Response | None:
        key = self.key()
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        right = report_token(key, run) if key else ""
        if not right or not hmac.compare_digest(
            sent.encode("utf-8", "surrogateescape"), right.encode()
        ):
            return _answer(HTTPStatus.UNAUTHORIZED)
        return None if self.store.knows(run) else _answer(HTTPStatus.NOT_FOUND)


def _answer(status: HTTPStatus) -> web.Response:
    return web.Response(text=f"{status.phrase}\n", status=status)
