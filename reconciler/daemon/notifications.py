"""Tells a webhook of what was recorded: beside the syncs, so that none waits for its answer.

News is taken from what was pushed to the status branch, and gathered until the last delivery is
done with and its interval is over. What cannot be delivered is given up after a few tries: the
status branch has it, and a receiver that was away for an hour is not told of that hour at once.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from reconciler.config.model import Setup
from reconciler.config.reporting import NotificationsSection
from reconciler.errors import ReconcilerError
from reconciler.http_client import Answer, CallError, Client, client
from reconciler.metrics import Metrics
from reconciler.notify.body import Body, TemplateFault
from reconciler.notify.digest import Digest, Waiting
from reconciler.notify.events import news
from reconciler.notify.signature import delivery_headers
from reconciler.planner import ObjectStatus
from reconciler.types import ObjectRef

log = structlog.get_logger(__name__)

#: How often a delivery is tried, and the seconds before the second try, and before any other.
TRIES = 5
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
#: Seconds that a daemon which ends has for what is left; another may wait for it to be gone.
_FAREWELL = 3.0
#: Answers after which another try may do better; after any other 4xx it would not.
_LATER = frozenset({408, 409, 425, 429})


class DeliveryError(ReconcilerError):
    """A delivery that is not tried again as it is."""


@dataclass(slots=True)
class Notifier:
    """``url_file`` and ``secret_file`` are read at each try, as they may rotate."""

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
        """A push has changed the status branch from this to that."""
        self._waiting.add(news(before, after, self.section.phases))
        if self._waiting:
            self._news.set()

    async def run(self, to: Client) -> None:
        """Deliver what there is, at most once an interval, until :meth:`close` is called."""
        while self._waiting or not self._closing.is_set():
            await self._news.wait()
            self._news.clear()
            if self._waiting:
                await self._deliver(self._waiting.take(), to)
                await self._pause(self.section.interval)

    def close(self) -> None:
        """No more will come: what is left is tried once, and at once."""
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
        except Exception:  # the next one must be delivered all the same
            log.exception("a notification cannot be delivered")
        finally:
            self.metrics.notifications.labels(result).inc()

    async def _try(self, body: bytes, name: str, to: Client) -> None:
        pause = FIRST_PAUSE
        for left in reversed(range(TRIES)):
            answer: Answer | None = None
            try:
                answer = await self._send(body, name, to)
            except CallError as error:
                told = str(error)
            else:
                if answer.fine:
                    return
                told = f"it was answered with status {answer.status}"
                if 300 <= answer.status < 500 and answer.status not in _LATER:
                    raise DeliveryError(told)
            if not left or self._closing.is_set():
                raise DeliveryError(told)
            log.info("a notification is tried again", error=told)
            wait = answer.pause(pause, LONGEST_PAUSE) if answer is not None else pause
            await self._pause(wait * (1 + random.random() / 4))  # noqa: S311 -- a jitter
            pause = min(pause * 4, LONGEST_PAUSE)

    async def _send(self, body: bytes, name: str, to: Client) -> Answer:
        url, secret = self._url(), None
        if self.secret_file is not None:
            secret = _read(self.secret_file)
        headers = delivery_headers(body, name=name, seconds=int(time.time()), secret=secret)
        headers["Content-Type"] = "application/json"
        return await to.call("POST", url, headers=headers, body=body)

    def _url(self) -> str:
        """Where to. It may be a secret itself, so no message quotes it."""
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
    """A notifier at work for as long as the block lasts, if the configuration asks for one."""
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
            _, late = await asyncio.wait([work], timeout=_FAREWELL)
            for task in late:
                task.cancel()
            await asyncio.gather(work, return_exceptions=True)
