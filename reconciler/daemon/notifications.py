"""Delivery of notifications to a webhook, beside the syncs.

No sync waits for a webhook's answer.

Events come from pushes to the status branch, and are gathered until the last delivery has ended
and its interval is over. A delivery is given up after a few tries: the status branch has its
content, and a receiver that was away for an hour does not get that hour at once.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from reconciler.backoff import Backoff
from reconciler.config import NotificationsSection, Setup
from reconciler.errors import ReconcilerError
from reconciler.http_client import Answer, CallError, Client, client
from reconciler.metrics import Metrics
from reconciler.notify import Body, Digest, TemplateFault, Waiting, delivery_headers, news
from reconciler.planner import ObjectStatus
from reconciler.types import ObjectRef

log = structlog.get_logger(__name__)

#: Tries of a delivery, and the pauses between them.
TRIES = 5
RETRY = Backoff(first=1.0, longest=60.0, factor=4.0)
#: Seconds for the last delivery of a daemon that ends; its successor may wait for that.
_LAST_DELIVERY = 3.0
#: The 4xx answers after which another try may succeed.
_RETRYABLE = frozenset({408, 409, 425, 429})


class DeliveryError(ReconcilerError):
    """A delivery that failed for good."""


@dataclass(slots=True)
class Notifier:
    """Delivers notifications to one webhook.

    ``url_file`` and ``secret_file`` are read at each try, as they may rotate.
    """

    section: NotificationsSection
    cluster: str
    url_file: Path
    secret_file: Path | None
    metrics: Metrics
    _waiting: Waiting = field(default_factory=Waiting)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    def recorded(
        self, before: Mapping[ObjectRef, ObjectStatus], after: Mapping[ObjectRef, ObjectStatus]
    ) -> None:
        """Take over the status branch's records before and after a push."""
        self._waiting.add(news(before, after, self.section.phases))
        if self._waiting:
            self._news.set()

    async def run(self, to: Client) -> None:
        """Deliver events, at most once an interval, until :meth:`close` is called."""
        while self._waiting or not self._closing.is_set():
            await self._news.wait()
            self._news.clear()
            if self._waiting:
                await self._deliver(self._waiting.take(), to)
                await self._pause(self.section.interval)

    def close(self) -> None:
        """Have the remaining events delivered now, in a single try."""
        self._closing.set()
        self._news.set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _deliver(self, digest: Digest, to: Client) -> None:
        result, name = "failed", f"msg_{secrets.token_hex(12)}"
        try:
            body = Body(self.section.template).of(digest, cluster=self.cluster)
            await self._try(body, name, to)
            result = "sent"
        except (DeliveryError, TemplateFault) as error:
            log.warning("a notification cannot be delivered", error=str(error))
        except Exception:  # later notifications must be delivered all the same
            log.exception("a notification cannot be delivered")
        finally:
            self.metrics.notifications.labels(result).inc()

    async def _try(self, body: bytes, name: str, to: Client) -> None:
        for number in range(1, TRIES + 1):
            answer: Answer | None = None
            try:
                answer = await self._send(body, name, to)
            except CallError as error:
                failure = str(error)
            else:
                if answer.fine:
                    return
                failure = f"it was answered with status {answer.status}"
                if 300 <= answer.status < 500 and answer.status not in _RETRYABLE:
                    raise DeliveryError(failure)
            if number == TRIES or self._closing.is_set():
                raise DeliveryError(failure)
            log.info("a notification is tried again", error=failure)
            asked = answer.pause(0.0, RETRY.longest) if answer is not None else 0.0
            await self._pause(RETRY.delay(number, at_least=asked))

    async def _send(self, body: bytes, name: str, to: Client) -> Answer:
        url, secret = self._url(), None
        if self.secret_file is not None:
            secret = _read(self.secret_file)
        headers = delivery_headers(body, name=name, seconds=int(time.time()), secret=secret)
        headers["Content-Type"] = "application/json"
        return await to.call("POST", url, headers=headers, body=body)

    def _url(self) -> str:
        """The webhook's URL.

        It may be a secret itself, so no message quotes it.
        """
        try:
            url = _read(self.url_file).decode()
            parts = urlsplit(url)
        except ValueError:
            parts, url = urlsplit(""), ""
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise DeliveryError(f"{self.url_file} does not hold an https URL")
        return url


def _read(file: Path) -> bytes:
    try:
        data = file.read_bytes()[: 64 << 10].strip()
    except OSError as error:
        raise DeliveryError(f"{file} cannot be read: {error.strerror}") from error
    if not data:
        raise DeliveryError(f"{file} is empty")
    return data


@asynccontextmanager
async def notifying(setup: Setup, metrics: Metrics) -> AsyncIterator[Notifier | None]:
    """Run the configured notifier during the block; None without one."""
    section = setup.config.notifications
    if section is None:
        yield None
        return
    secret, ca_file = section.secret_file, setup.config.tls.ca_file
    notifier = Notifier(
        section=section,
        cluster=setup.config.cluster,
        url_file=setup.file(section.url_file),
        secret_file=setup.file(secret) if secret is not None else None,
        metrics=metrics,
    )
    async with AsyncExitStack() as stack:
        to = await stack.enter_async_context(client(setup.file(ca_file) if ca_file else None))
        work = asyncio.create_task(notifier.run(to))
        try:
            yield notifier
        finally:
            notifier.close()
            _, late = await asyncio.wait([work], timeout=_LAST_DELIVERY)
            for task in late:
                task.cancel()
            await asyncio.gather(work, return_exceptions=True)
