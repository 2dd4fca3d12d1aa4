"""Plans of open pull requests, sent as commit statuses and comments.

They are made beside the syncs. A request is planned when its head moves, and again when its base
branch does. Its commit status says whether the manifests are valid; its one comment is edited in
place. Nothing is sent again that the forge has already, so a restart or another leader changes
nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from reconciler.backoff import Backoff, jittered
from reconciler.config import Setup
from reconciler.daemon.crash_record import CrashRecord
from reconciler.daemon.pull_request_planner import (
    DaemonState,
    PullRequestPlanner,
    PullRequestReport,
    marker_of,
    report_of,
    unplannable,
)
from reconciler.daemon.shutdown import WritePermission
from reconciler.errors import ReconcilerError, Trouble
from reconciler.forge import Comment, Forge, ForgeError, PullRequest, forge_of
from reconciler.git import end_running, rebuilding
from reconciler.http_client import client
from reconciler.metrics import Metrics
from reconciler.review import CommitStatus, counted
from reconciler.types import Commit
from reconciler.workspace import git_folder

log = structlog.get_logger(__name__)
T = TypeVar("T")

#: The shortest pause between two plans in seconds. A pause is also no shorter than the last plan
#: took, so that plans use half of a thread's time at most.
PACE = 1.0
RETRY = Backoff(first=5.0, longest=300.0)
#: Tries of a request that fails by itself, before it is left until it changes.
MOST_TRIES = 3
ENDED_THE_DAEMON = "Planning this commit ended the daemon; push another one to have it planned"


@dataclass(frozen=True, slots=True)
class _Done:
    """The commits that a request was planned for; ``tries`` counts failed plans."""

    head: Commit
    base: Commit
    tries: int = 0


@dataclass(slots=True)
class _Sent:
    """A commit with its status on the forge, and the request's comment."""

    commit: Commit
    status: CommitStatus | None
    comment: Comment | None


@dataclass(slots=True)
class PullRequestController:
    """Plans the open pull requests of one forge.

    ``state`` returns the daemon's current state, None before its first sync.
    """

    setup: Setup
    forge: Forge
    planner: PullRequestPlanner
    permission: WritePermission
    state: Callable[[], DaemonState | None]
    metrics: Metrics
    troubles: dict[str, str]
    crashes: CrashRecord
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _done: dict[int, _Done] = field(default_factory=dict)
    _sent: dict[int, _Sent] = field(default_factory=dict)
    _refused: dict[int, str] = field(default_factory=dict)
    _failures: int = 0
    _busy: asyncio.Future[Any] | None = None

    def poll(self) -> None:
        """Ask for a poll.

        A request, or its base branch, may have changed.
        """
        self._wake.set()

    async def run(self) -> None:
        """Poll and plan until cancelled; failures are retried with a growing delay."""
        section = self.setup.config.review
        assert section is not None
        while True:
            wait = jittered(section.interval)
            try:
                await self._round(section.open)
            except Exception as error:  # noqa: BLE001 -- it ends with the daemon alone
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
        """Note a failed poll; returns the seconds until the next try."""
        self.metrics.failed("forge", error)
        self.troubles["forge"] = f"Pull requests cannot be followed: {error}"
        self._failures += 1
        asked = error.pause if isinstance(error, ForgeError) else 0.0
        delay = RETRY.delay(self._failures, at_least=asked)
        known = isinstance(error, ReconcilerError)
        log_it = log.warning if known else log.exception
        log_it("pull requests cannot be followed", error=str(error), retry=round(delay, 1))
        return delay

    async def _round(self, most: int) -> None:
        """Poll the open requests once, and plan the changed ones."""
        known = self.state()
        if known is None:
            return
        requests = await self.forge.open_requests(self.setup.config.repository.branch, most)
        self.metrics.pull_requests.set(len(requests))
        numbers = {request.number for request in requests}
        if numbers != self._done.keys():
            for gone in self._done.keys() - numbers:
                del self._done[gone]
                self._sent.pop(gone, None)
                self._refuse(gone, None)
            refs = {request.ref for request in requests}
            await self._in_thread(lambda: self.planner.proposals.keep_only(refs))
        # A new request does not wait for all requests whose base branch has moved.
        for request in sorted(requests, key=lambda request: request.number in self._done):
            newest = self.state() or known
            if not self._is_done(request, newest.head):
                began = time.monotonic()
                await self._plan(request, newest)
                await asyncio.sleep(max(PACE, time.monotonic() - began))

    def _is_done(self, request: PullRequest, base: Commit) -> bool:
        done = self._done.get(request.number)
        if done is None or (done.head, done.base) != (request.head, base):
            return False
        return done.tries == 0

    async def _plan(self, request: PullRequest, known: DaemonState) -> None:
        """Plan one request, and send the result to the forge."""
        bound = log.bind(request=request.number, head=request.head[:12])
        done = _Done(request.head, known.head)
        before = self._done.get(request.number)
        same = before is not None and (before.head, before.base) == (done.head, done.base)
        tries = before.tries + 1 if before is not None and same else 1
        try:
            if request.head in self.crashes:
                head, report = request.head, unplannable(ENDED_THE_DAEMON)
            else:
                head, report = await self._in_thread(lambda: self._review(request, known))
        except Exception as error:  # noqa: BLE001 -- the other requests are planned all the same
            log_it = bound.warning if isinstance(error, ReconcilerError) else bound.exception
            log_it("a pull request cannot be planned", error=str(error), tries=tries)
            self.metrics.failed("forge", error)
            if tries < MOST_TRIES:
                self._done[request.number] = replace(done, tries=tries)
                return
            head, report = request.head, unplannable()
        try:
            await self._send(request, head, report)
        except ForgeError as error:
            if not error.lasting and error.trouble is not Trouble.REFUSED:
                raise
            bound.warning("a pull request cannot be commented on", error=str(error), tries=tries)
            self.metrics.failed("forge", error)
            self._refuse(request.number, str(error))
            self._done[request.number] = replace(done, tries=tries if tries < MOST_TRIES else 0)
            return
        self._refuse(request.number, None)
        self._done[request.number] = done
        self.metrics.reviews.labels(report.status.state.value).inc()
        bound.info("pull request planned", status=report.status.state.value)

    def _review(self, request: PullRequest, known: DaemonState) -> tuple[Commit, PullRequestReport]:
        """Return a report and its commit.

        The commit may differ from the listed one: the ref may have moved since.
        """
        proposals = self.planner.proposals

        def review() -> tuple[Commit, PullRequestReport]:
            head = request.head
            if not proposals.has(head):
                head = proposals.fetch_head(request.ref)
            found = self.planner.review(known, head)
            return head, report_of(self.setup, found, self.planner.refusal(known, head))

        with self.crashes.attempt(request.head):
            return rebuilding(review, proposals.remake)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run work in a thread, which :meth:`idle` waits for."""
        self._busy = asyncio.get_running_loop().run_in_executor(None, work)
        return await asyncio.shield(self._busy)

    async def idle(self) -> None:
        """Wait for the last thread.

        The git commands that it waits for are ended.
        """
        while self._busy is not None and not self._busy.done():
            end_running()
            await asyncio.wait([self._busy], timeout=0.1)

    def _refuse(self, number: int, message: str | None) -> None:
        """Note that the forge refuses a request's report; None: it does not."""
        self._refused.pop(number, None)
        if message is not None:
            self._refused[number] = message
        self.troubles.pop("pull request", None)
        if self._refused:
            last = next(reversed(self._refused.values()))
            count = counted(len(self._refused), "pull request")
            self.troubles["pull request"] = f"{count} cannot be commented on: {last}"

    # -- sending ---------------------------------------------------------------------------

    async def _send(self, request: PullRequest, head: Commit, report: PullRequestReport) -> None:
        """Send the missing parts of a report to the forge.

        Raises ForgeError.
        """
        if not self.permission.leads():
            raise ForgeError("another replica leads now", Trouble.CONFLICT)
        section = self.setup.config.review
        assert section is not None
        number, marker = request.number, marker_of(self.setup)
        sent = self._sent.get(number)
        if sent is None or sent.commit != head:
            comment = sent.comment if sent is not None else None
            if sent is None and section.comment:
                comment = await self.forge.own_comment(number, marker)
            sent = self._sent[number] = _Sent(head, await self.forge.status(head), comment)
        if sent.status != report.status:
            await self.forge.set_status(request, head, report.status)
            sent.status = report.status
        if section.comment:
            await self._comment(number, sent, report)

    async def _comment(self, number: int, sent: _Sent, report: PullRequestReport) -> None:
        """Create the comment once a report is notable; then update it."""
        if sent.comment is None and not report.notable:
            return
        if sent.comment is not None and report.is_in(sent.comment.body):
            return
        text = report.comment(self.setup)
        if sent.comment is not None:
            sent.comment = await self.forge.edit(number, sent.comment, text)
        if sent.comment is None:
            sent.comment = await self.forge.comment(number, text)


@asynccontextmanager
async def planning_pull_requests(
    setup: Setup,
    permission: WritePermission,
    state: Callable[[], DaemonState | None],
    *,
    metrics: Metrics,
    troubles: dict[str, str],
) -> AsyncIterator[PullRequestController | None]:
    """Run the configured controller during the block; None without one."""
    section, site = setup.config.review, setup.forge
    if section is None or site is None:
        yield None
        return
    ca_file = setup.config.tls.ca_file
    async with AsyncExitStack() as stack:
        caller = await stack.enter_async_context(client(setup.file(ca_file) if ca_file else None))
        forge = forge_of(setup, section, site, caller)
        planner = await asyncio.to_thread(PullRequestPlanner, setup)
        crashes = await asyncio.to_thread(CrashRecord, git_folder(setup) / "pull-requests")
        controller = PullRequestController(
            setup, forge, planner, permission, state, metrics, troubles, crashes
        )
        work = asyncio.create_task(controller.run())
        try:
            yield controller
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await controller.idle()
