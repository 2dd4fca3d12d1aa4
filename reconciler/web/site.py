"""Routes of the page, and control of access to it.

Access is from this machine, or by a configured host. A page that needs no password can be read by
every web site that makes a browser request it. Two things are required of a request, so that
binding to all addresses (a cluster's probes and webhooks need that) does not open the page: it
comes in on the loopback address, as from a browser on this machine, ``ssh -L`` or ``kubectl
port-forward``; and it asks for ``localhost``, since a foreign site that points its own name at
127.0.0.1 (DNS rebinding) asks for that name. A name in ``server.hosts`` is for a proxy in front
that authenticates users. Anything that reaches the port can send that name too, so the request has
to come from the proxy: on the loopback address, or with the proxy's secret in a header.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import zlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from importlib import resources
from ipaddress import ip_address

from aiohttp import web

from reconciler.engine import Logs, NoTail, ProgressReader
from reconciler.planner import ObjectStatus, TaskStatus, newest_printed
from reconciler.types import Commit, Kind, ObjectRef
from reconciler.web.comparison import compared_selection
from reconciler.web.curves import charts_of
from reconciler.web.history import Order
from reconciler.web.overlay import (
    MOST_READ,
    DrawnRun,
    NamedCurves,
    Overlay,
    log_of,
    overlay_of,
    runs_of_artifacts,
    runs_of_variants,
)
from reconciler.web.render import (
    Frame,
    Progresses,
    ShownLog,
    compare_page,
    message_page,
    object_page,
    overview_page,
    shown_progress,
)
from reconciler.web.selection import Selection
from reconciler.web.snapshot import PageCache
from reconciler.web.terminal import LONGEST, terminal_output

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Logs must not stay in the browser for its next user.
    "Cache-Control": "no-store",
}
_STATIC = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
#: The header in which a proxy sends its secret.
PROXY_HEADER = "X-Reconciler-Proxy-Secret"
_FORWARDED = ("Forwarded", "X-Forwarded-For")
_KINDS = {kind.plural: kind for kind in Kind}
#: Tasks whose curves are looked for where the log that is shown has none.
_MOST_CURVES = 4

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True, kw_only=True)
class Site:
    """The handlers of the page.

    ``standby`` returns sentences on why there is no page yet, ``troubles`` the present errors.
    ``subjects`` reads those of commits, where they are known. ``proxy_secret`` reads the secret of
    a proxy for ``hosts``; empty where there is none.
    """

    cluster: str
    cache: PageCache
    logs: Logs
    progress: ProgressReader
    standby: Callable[[], Awaitable[Sequence[str]]]
    troubles: Callable[[], Sequence[str]]
    subjects: Callable[[Collection[Commit]], Mapping[Commit, str]] = lambda _: {}
    hosts: Collection[str] = ()
    proxy_secret: Callable[[], bytes] = bytes
    _epoch: str = field(default_factory=lambda: secrets.token_hex(4))

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, for GET and HEAD; other methods get 405."""
        return [
            web.get("/", self._guarded(self._overview)),
            web.get(
                "/objects/{namespace}/{plural:models|datasets}/{name}",
                self._guarded(self._object),
            ),
            web.get("/compare", self._guarded(self._compare)),
            web.get("/static/{name}", self._guarded(self._static)),
        ]

    @web.middleware
    async def missing(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a browser's request for an unknown path with a page."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            wants = "text/html" in request.headers.get("Accept", "")
            if not wants or self._refusal(request):
                raise
        return self._message(
            HTTPStatus.NOT_FOUND, "Not found", f"There is nothing at {request.path}."
        )

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            refused = self._refusal(request)
            if refused:
                return web.Response(
                    text=f"{refused}\n", status=HTTPStatus.FORBIDDEN, headers=HEADERS
                )
            return await handler(request)

        return guarded

    def _refusal(self, request: web.Request) -> str:
        """Return why a request is refused; empty where it is not."""
        host, local = _host(request.host), _is_local(request)
        if host in self.hosts:
            return "" if local or self._is_from_proxy(request) else _NOT_THE_PROXY
        proxied = any(header in request.headers for header in _FORWARDED)
        if local and not proxied and (host == "localhost" or _loopback(host)):
            return ""
        return _ELSEWHERE

    def _is_from_proxy(self, request: web.Request) -> bool:
        sent = request.headers.get(PROXY_HEADER)
        secret = self.proxy_secret() if sent else b""
        return bool(secret) and hmac.compare_digest(
            (sent or "").encode("utf-8", "surrogateescape"), secret
        )

    async def _overview(self, request: web.Request) -> web.StreamResponse:
        catalog = self.cache.catalog()
        if catalog is None:
            return await self._nothing()
        progress = self._progress(catalog.records.values())
        tag = self._tag(repr(progress))
        if _has(request, tag):
            return _unchanged(tag)
        selection = Selection.parse(request.query_string)
        return _html(overview_page(self._frame(tag), catalog, selection, progress), tag=tag)

    async def _compare(self, request: web.Request) -> web.StreamResponse:
        catalog = self.cache.catalog()
        if catalog is None:
            return await self._nothing()
        query = request.query_string
        compared = compared_selection(catalog, Selection.parse(query), query)
        overlay = await self._overlay(request, runs_of_artifacts(compared, catalog.records))
        subjects = await asyncio.to_thread(self.subjects, compared.found.commits())
        compared = compared.with_subjects(subjects)
        tag = self._tag(repr((overlay, sorted(subjects.items()))))
        if _has(request, tag):
            return _unchanged(tag)
        return _html(compare_page(self._frame(tag), catalog, compared, overlay), tag=tag)

    async def _object(self, request: web.Request) -> web.StreamResponse:
        catalog = self.cache.catalog()
        if catalog is None:
            return await self._nothing()
        where = request.match_info
        ref = ObjectRef(_KINDS[where["plural"]], where["namespace"], where["name"])
        record = catalog.records.get(ref)
        if record is None:
            return self._message(
                HTTPStatus.NOT_FOUND,
                "Not found",
                f"There is no {ref} at the commit that was synced last.",
                "What became of one that is gone is on the status branch, in removed/.",
            )
        log = await self._log(request, record)
        progress = self._progress([record])
        overlay = await self._overlay(request, runs_of_variants(record))
        tag = self._tag(repr((log, progress, overlay)))
        if _has(request, tag):
            return _unchanged(tag)
        order = Order.parse(request.query_string)
        page = object_page(
            self._frame(tag),
            catalog,
            record,
            order=order,
            log=log,
            progress=progress,
            overlay=overlay,
        )
        return _html(page, tag=tag)

    def _progress(self, records: Iterable[ObjectStatus]) -> Progresses:
        return shown_progress(records, self.progress.latest, datetime.now(UTC))

    async def _overlay(self, request: web.Request, runs: Sequence[DrawnRun]) -> Overlay:
        """Draw the curves of the query's metric, else of the first."""
        runs = runs[:MOST_READ]
        found = await asyncio.gather(*(self.progress.curves(run.log) for run in runs))
        named = [
            NamedCurves(label=run.label, href=run.href, curves=curves)
            for run, curves in zip(runs, found, strict=True)
            if curves is not None and curves.metrics
        ]
        return overlay_of(named, request.query.get("curve", ""))

    async def _log(self, request: web.Request, record: ObjectStatus) -> ShownLog | None:
        """Read the log that the query names, else the newest.

        It has a ``task``, a ``key`` and an ``attempt``.
        """
        asked, key = request.query.get("task"), request.query.get("key", "")
        named = [
            task
            for task in record.tasks
            if task.task.value == asked and task.has_printed and (task.key or "").startswith(key)
        ]
        task = named[0] if named else newest_printed(record.tasks)
        if task is None:
            return None
        attempt = _attempt(request.query.get("attempt", ""), task)
        wanted = replace(log_of(record, task), attempt=attempt)
        tail = await self.logs.tail(wanted, LONGEST)
        number = attempt or task.attempts
        shown = ShownLog(
            task=task.task,
            key=task.key,
            attempt=number,
            where="" if isinstance(tail, NoTail) else tail.where,
            found=tail
            if isinstance(tail, NoTail)
            else terminal_output(tail.data, whole=tail.whole),
            charts=charts_of(await self.progress.curves(wanted)),
        )
        return shown if named or shown.charts.drawn else await self._with_curves(shown, record)

    async def _with_curves(self, log: ShownLog, record: ObjectStatus) -> ShownLog:
        """Add the curves of the newest other task that has any.

        An evaluation has none, and comes after the training that has.
        """
        others = [task for task in record.tasks if task.has_printed and task.task is not log.task]
        for task in reversed(others[-_MOST_CURVES:]):
            charts = charts_of(await self.progress.curves(log_of(record, task)))
            if charts.drawn:
                return replace(log, charts=charts, drawn=(task.task, task.key, task.attempts))
        return log

    async def _static(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _STATIC:
            raise web.HTTPNotFound
        data = resources.files("reconciler.web").joinpath("static", name).read_bytes()
        tag = hashlib.sha256(data).hexdigest()[:16]
        if _has(request, tag):
            return _unchanged(tag)
        headers = {**HEADERS, "Cache-Control": "no-cache"}
        answer = web.Response(body=data, content_type=_STATIC[name], headers=headers)
        answer.charset = "utf-8"
        return _tagged(answer, tag)

    def _frame(self, tag: str = "") -> Frame:
        troubles = tuple(self.troubles())
        return Frame(cluster=self.cluster, tag=tag, troubles=troubles, synced=self.cache.synced)

    def _tag(self, more: str = "") -> str:
        """Return the ETag of a page's content.

        ``_epoch`` is part of it, as another start of the daemon counts versions anew. A sync that
        changes nothing makes another page once a minute, for its time.
        """
        synced = self.cache.synced
        minute = synced.replace(second=0, microsecond=0) if synced is not None else None
        shown = zlib.crc32(repr((more, minute, self.troubles())).encode())
        return f"{self._epoch}-{self.cache.version}-{shown:08x}"

    async def _nothing(self) -> web.Response:
        sentences = await self.standby()
        return self._message(HTTPStatus.SERVICE_UNAVAILABLE, "No status yet", *sentences)

    def _message(self, status: HTTPStatus, title: str, *sentences: str) -> web.Response:
        return _html(message_page(self._frame(), title, *sentences), status=status)


_ELSEWHERE = (
    "The status page is for browsers on the daemon's own machine, at http://localhost. From "
    "elsewhere use ssh -L or kubectl port-forward, or name the host in server.hosts and let "
    "something in front decide who may see it."
)
_NOT_THE_PROXY = (
    "A host of server.hosts is answered to its proxy alone: one that connects to the loopback "
    f"address, or sends the secret of server.proxySecretFile in the header {PROXY_HEADER}."
)


def _is_local(request: web.Request) -> bool:
    """Return whether a request came in on the loopback address."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return isinstance(name, tuple) and _loopback(str(name[0]))


def _host(header: str) -> str:
    """Return the host of a Host header, without port and brackets."""
    text = header.lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def _loopback(text: str) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _attempt(text: str, task: TaskStatus) -> int | None:
    """Return the number of an earlier attempt; None for the newest."""
    plausible = text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if plausible and 1 <= int(text) < task.attempts else None


def _html(text: str, *, status: HTTPStatus = HTTPStatus.OK, tag: str | None = None) -> web.Response:
    answer = web.Response(text=text, content_type="text/html", status=status, headers=HEADERS)
    answer.enable_compression()
    return _tagged(answer, tag) if tag else answer


def _tagged(answer: web.Response, tag: str) -> web.Response:
    answer.headers["ETag"] = f'W/"{tag}"'
    return answer


def _has(request: web.Request, tag: str) -> bool:
    return any(known.value == tag for known in request.if_none_match or ())


def _unchanged(tag: str) -> web.Response:
    return _tagged(web.Response(status=HTTPStatus.NOT_MODIFIED, headers=HEADERS), tag)
