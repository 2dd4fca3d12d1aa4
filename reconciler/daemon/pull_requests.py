"""Follows the pull requests that are open, and tells each what it would do: beside the syncs.

A request is planned when its head moves, and again when the branch it is for does. It has a commit
status, which says whether the manifests are sound, and one comment, which is edited in place. What
the forge has already is not sent again, so a restart or another leader changes nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from reconciler.backoff import doubled
from reconciler.config.model import Setup
from reconciler.daemon.authority import Authority
from reconciler.daemon.pull_request_planner import Knowledge, Reviewer
from reconciler.daemon.pull_request_text import Words, marker_of, same, unplannable, words_of
from reconciler.errors import ReconcilerError, Trouble
from reconciler.forge.base import Comment, Forge, ForgeError, PullRequest
from reconciler.forge.connect import forge_of
from reconciler.git.command import end_running
from reconciler.git.errors import DamagedError
from reconciler.http_client import client
from reconciler.metrics import Metrics
from reconciler.review import CommitStatus, counted
from reconciler.types import Commit

log = structlog.get_logger(__name__)
T = TypeVar("T")

#: Seconds between two plans at least; and no less than the last one took, so that half the time
#: of a thread is what following can ever cost.
PACE = 1.0
RETRY_FIRST = 5.0
RETRY_LONGEST = 300.0
#: How often what is wrong with one request alone is tried, before it is left until it changes.
MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Done:
    """What a request was planned for, and in how many tries in vain."""

    head: Commit
    base: Commit
    tries: int = 0


@dataclass(slots=True)
class _Told:
    """What the forge is known to have: of which commit, and our comment if there is one."""

    commit: Commit
    verdict: CommitStatus | None
    comment: Comment | None


@dataclass(slots=True)
class Follower:
    """``know`` says what the daemon knows now, None before its first sync."""

    setup: Setup
    forge: Forge
    reviewer: Reviewer
    authority: Authority
    know: Callable[[], Knowledge | None]
    metrics: Metrics
    troubles: dict[str, str]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _done: dict[int, _Done] = field(default_factory=dict)
    _told: dict[int, _Told] = field(default_factory=dict)
    _refused: dict[int, str] = field(default_factory=dict)
    _failures: int = 0
    _busy: asyncio.Future[Any] | None = None

    def look(self) -> None:
        """Something may have changed: a request, or the branch that they are for."""
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled. What goes wrong is tried again, ever more rarely."""
        section = self.setup.config.review
        assert section is not None
        while True:
            wait = section.interval * (0.9 + random.random() / 5)  # noqa: S311 -- a jitter
            try:
                await self._round(section.open)
            except Exception as error:  # noqa: BLE001 -- following ends with the daemon alone
                wait = self._failed(error)
                await asyncio.sleep(wait)
            else:
                self._failures = 0
                self.troubles.pop("forge", None)
                await asyncio.sleep(PACE)  # however often it is woken
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
            self._wake.clear()

    def _failed(self, error: Exception) -> float:
        """Note it, and say how many seconds to wait before the next try."""
        self.metrics.failed("forge", error)
        self.troubles["forge"] = f"Pull requests cannot be followed: {error}"
        delay = doubled(RETRY_FIRST, self._failures, RETRY_LONGEST)
        self._failures += 1
        asked = error.pause if isinstance(error, ForgeError) else 0.0
        delay = max(delay, asked) * (1 + random.random() / 4)  # noqa: S311 -- a jitter
        known = isinstance(error, ReconcilerError)
        told = log.warning if known else log.exception
        told("pull requests cannot be followed", error=str(error), retry=round(delay, 1))
        return delay

    async def _round(self, most: int) -> None:
        """Look at the open requests once, and plan those that have changed."""
        known = self.know()
        if known is None:
            return
        requests = await self.forge.open_requests(self.setup.config.repository.branch, most)
        self.metrics.pull_requests.set(len(requests))
        numbers = {request.number for request in requests}
        if numbers != self._done.keys():
            for gone in self._done.keys() - numbers:
                del self._done[gone]
                self._told.pop(gone, None)
                self._refuse(gone, None)
            refs = {request.ref for request in requests}
            await self._in_thread(lambda: self.reviewer.proposals.keep_only(refs))
        # One that nobody has planned yet does not wait for all those that the branch moved under.
        for request in sorted(requests, key=lambda request: request.number in self._done):
            newest = self.know() or known
            if not self._is_done(request, newest.head):
                began = time.monotonic()
                await self._plan(request, newest)
                await asyncio.sleep(max(PACE, time.monotonic() - began))

    def _is_done(self, request: PullRequest, base: Commit) -> bool:
        done = self._done.get(request.number)
        if done is None or (done.head, done.base) != (request.head, base):
            return False
        return done.tries == 0

    async def _plan(self, request: PullRequest, known: Knowledge) -> None:
        """Plan one request, and say what came of it where people look."""
        bound = log.bind(request=request.number, head=request.head[:12])
        done = _Done(request.head, known.head)
        before = self._done.get(request.number)
        same = before is not None and (before.head, before.base) == (done.head, done.base)
        tries = before.tries + 1 if before is not None and same else 1
        try:
            head, words = await self._in_thread(lambda: self._review(request, known))
        except Exception as error:  # noqa: BLE001 -- whatever one proposes, others are planned
            told = bound.warning if isinstance(error, ReconcilerError) else bound.exception
            told("a pull request cannot be planned", error=str(error), tries=tries)
            self.metrics.failed("forge", error)
            if tries < MOST_TRIES:
                self._done[request.number] = replace(done, tries=tries)
                return
            head, words = request.head, unplannable()
        try:
            await self._tell(request, head, words)
        except ForgeError as error:
            if not error.lasting and error.trouble is not Trouble.REFUSED:
                raise
            bound.warning("a pull request cannot be told of", error=str(error), tries=tries)
            self.metrics.failed("forge", error)
            self._refuse(request.number, str(error))
            self._done[request.number] = replace(done, tries=tries if tries < MOST_TRIES else 0)
            return
        self._refuse(request.number, None)
        self._done[request.number] = done
        self.metrics.reviews.labels(words.verdict.state.value).inc()
        bound.info("pull request planned", verdict=words.verdict.state.value)

    def _review(self, request: PullRequest, known: Knowledge) -> tuple[Commit, Words]:
        """What to say, and the commit it is of: the ref may have moved since it was listed."""
        reviewer, proposals, head = self.reviewer, self.reviewer.proposals, request.head
        try:
            if not proposals.has(head):
                head = proposals.fetch_head(request.ref)
            found = reviewer.review(known, head)
        except DamagedError:
            proposals.remake()
            head = proposals.fetch_head(request.ref)
            found = reviewer.review(known, head)
        return head, words_of(self.setup, found)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do it in a thread, of which nobody can say that it is over before it is."""
        self._busy = asyncio.get_running_loop().run_in_executor(None, work)
        return await asyncio.shield(self._busy)

    async def idle(self) -> None:
        """Wait until no thread works for this any more; what it waits for itself is ended."""
        while self._busy is not None and not self._busy.done():
            end_running()
            await asyncio.wait([self._busy], timeout=0.1)

    def _refuse(self, number: int, why: str | None) -> None:
        """Note why a request cannot be told of, or that it can."""
        self._refused.pop(number, None)
        if why is not None:
            self._refused[number] = why
        self.troubles.pop("pull request", None)
        if self._refused:
            last = next(reversed(self._refused.values()))
            count = counted(len(self._refused), "pull request")
            self.troubles["pull request"] = f"{count} cannot be told of: {last}"

    # -- telling ---------------------------------------------------------------------------

    async def _tell(self, request: PullRequest, head: Commit, words: Words) -> None:
        """Give the forge what it does not have yet. Raises ForgeError."""
        if not self.authority.leads():
            raise ForgeError("another replica leads now", Trouble.CONFLICT)
        section = self.setup.config.review
        assert section is not None
        number, marker = request.number, marker_of(self.setup)
        told = self._told.get(number)
        if told is None or told.commit != head:
            comment = told.comment if told is not None else None
            if told is None and section.comment:
                comment = await self.forge.own_comment(number, marker)
            told = self._told[number] = _Told(head, await self.forge.verdict(head), comment)
        if told.verdict != words.verdict:
            await self.forge.judge(request, head, words.verdict)
            told.verdict = words.verdict
        if section.comment:
            await self._comment(number, told, words)

    async def _comment(self, number: int, told: _Told, words: Words) -> None:
        """One comment, where there is something to say; from then on it is kept up to date."""
        if told.comment is None and not words.matter:
            return
        text = f"{marker_of(self.setup)}\n{words.body}"
        if told.comment is not None and same(told.comment.body, text):
            return
        if told.comment is not None:
            told.comment = await self.forge.edit(number, told.comment, text)
        if told.comment is None:
            told.comment = await self.forge.comment(number, text)


@asynccontextmanager
async def following(
    setup: Setup,
    authority: Authority,
    know: Callable[[], Knowledge | None],
    *,
    metrics: Metrics,
    troubles: dict[str, str],
) -> AsyncIterator[Follower | None]:
    """A follower at work for as long as the block lasts, if the configuration asks for one."""
    section, site = setup.config.review, setup.forge
    if section is None or site is None:
        yield None
        return
    ca_file = setup.config.tls.ca_file
    async with AsyncExitStack() as stack:
        caller = await stack.enter_async_context(client(setup.file(ca_file) if ca_file else None))
        forge = forge_of(setup, section, site, caller)
        reviewer = await asyncio.to_thread(Reviewer, setup)
        follower = Follower(setup, forge, reviewer, authority, know, metrics, troubles)
        work = asyncio.create_task(follower.run())
        try:
            yield follower
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await follower.idle()
