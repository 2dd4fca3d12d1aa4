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
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import structlog

from reconciler.config import ReviewSection, Setup
from reconciler.daemon.crash_record import CrashRecord
from reconciler.daemon.forge_loop import PACE, RETRY, ForgeLoop, connected
from reconciler.daemon.pull_request_planner import (
    AskedKeys,
    DaemonState,
    PullRequestPlanner,
    PullRequestReport,
    marker_of,
    report_of,
    unplannable,
)
from reconciler.daemon.shutdown import WritePermission
from reconciler.errors import ReconcilerError, Trouble
from reconciler.forge import Comment, Forge, ForgeError, PullRequest
from reconciler.git import rebuilding
from reconciler.metrics import Metrics
from reconciler.planner import Reference, Referrer, Role, unreadable
from reconciler.reasons import Reason
from reconciler.reasons import message as text
from reconciler.review import CommitStatus, counted
from reconciler.types import Commit
from reconciler.workspace import git_folder

log = structlog.get_logger(__name__)

#: Tries of a request that fails by itself, before it is left until it changes, and of a ref that is
#: not at the listed head.
MOST_TRIES = 3
ENDED_THE_DAEMON = "Planning this commit ended the daemon; push another one to have it planned"


@dataclass(frozen=True, slots=True)
class _Done:
    """The commits that a request was planned for; ``tries`` counts failed plans.

    ``asked`` are the keys of that plan; None without a plan. ``due`` is when it is tried again, by
    the monotonic clock; 0.0 is at the next round.
    """

    head: Commit
    base: Commit
    tries: int = 0
    asked: AskedKeys | None = None
    due: float = 0.0


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
    loop: ForgeLoop = field(init=False)
    _done: dict[int, _Done] = field(default_factory=dict)
    _sent: dict[int, _Sent] = field(default_factory=dict)
    _refused: dict[int, str] = field(default_factory=dict)
    #: The heads of the open requests; None before the first round.
    _open: dict[int, Commit] | None = None

    def __post_init__(self) -> None:
        self.loop = ForgeLoop(
            "forge",
            "pull requests cannot be followed",
            self._section.interval,
            self.round,
            self.metrics,
            self.troubles,
        )

    @property
    def _section(self) -> ReviewSection:
        section = self.setup.config.review
        assert section is not None
        return section

    def references(self) -> tuple[list[Reference], list[Reason]]:
        """Return what open requests ask for, and the doubts about it."""
        listed = "list of pull requests"
        if self._open is None or "forge" in self.troubles:
            why = self.troubles.get("forge", "they are not read yet")
            return [], [unreadable(listed, "", why)]
        found: list[Reference] = []
        doubts: list[Reason] = []
        if len(self._open) >= self._section.open:
            doubts.append(unreadable(listed, "", "more may be open than are read"))
        for number, head in sorted(self._open.items()):
            name, done = f"#{number}", self._done.get(number)
            if done is None or done.head != head or done.asked is None:
                doubts.append(unreadable("pull request", name, "its head has no plan"))
                continue
            found += ((key, Referrer(Role.REQUEST, name)) for key in sorted(done.asked.keys))
            if done.asked.doubt is not None:
                doubts.append(unreadable("pull request", name, text(done.asked.doubt)))
        return found, doubts

    async def round(self) -> None:
        """Poll the open requests once, and plan the changed ones.

        Raises ForgeError.
        """
        known = self.state()
        if known is None:
            return
        target = self.setup.config.repository.branch
        requests = await self.forge.open_requests(target, self._section.open)
        self.metrics.pull_requests.set(len(requests))
        self._open = {request.number: request.head for request in requests}
        numbers = {request.number for request in requests}
        if numbers != self._done.keys():
            for gone in self._done.keys() - numbers:
                del self._done[gone]
                self._sent.pop(gone, None)
                self._refuse(gone, None)
            refs = {request.ref for request in requests}
            await self.loop.in_thread(lambda: self.planner.proposals.keep_only(refs))
        # A new request does not wait for all requests whose base branch has moved.
        for request in sorted(requests, key=lambda request: request.number in self._done):
            newest = self.state() or known
            if not self._is_done(request, newest.head):
                began = time.monotonic()
                await self._plan(request, newest)
                # Plans use half of a thread's time at most.
                await asyncio.sleep(max(PACE, time.monotonic() - began))

    def _is_done(self, request: PullRequest, base: Commit) -> bool:
        done = self._done.get(request.number)
        if done is None or (done.head, done.base) != (request.head, base):
            return False
        return done.tries == 0 or time.monotonic() < done.due

    async def _plan(self, request: PullRequest, known: DaemonState) -> None:
        """Plan one request, and send the result to the forge."""
        bound = log.bind(request=request.number, head=request.head[:12])
        done = _Done(request.head, known.head)
        before = self._done.get(request.number)
        same = before is not None and (before.head, before.base) == (done.head, done.base)
        tries = before.tries + 1 if before is not None and same else 1
        asked: AskedKeys | None = None
        try:
            if request.head in self.crashes:
                head, report = request.head, unplannable(ENDED_THE_DAEMON)
            else:
                reviewed = await self.loop.in_thread(
                    lambda: self._review(request, known, at_head=tries < MOST_TRIES)
                )
                if reviewed is None:
                    bound.info("the ref of a pull request is not at its head yet", tries=tries)
                    self._done[request.number] = replace(done, tries=tries)
                    self.loop.poll()
                    return
                head, report, asked = reviewed
        except Exception as error:  # noqa: BLE001 -- the other requests are planned all the same
            log_it = bound.warning if isinstance(error, ReconcilerError) else bound.exception
            log_it("a pull request cannot be planned", error=str(error), tries=tries)
            self.metrics.failed("forge", error)
            if tries < MOST_TRIES:
                self._done[request.number] = replace(done, tries=tries)
                return
            head, report = request.head, unplannable()
        done = replace(done, head=head, asked=asked)
        try:
            await self._send(request, head, report)
        except ForgeError as error:
            if not error.lasting and error.trouble is not Trouble.REFUSED:
                raise
            bound.warning("a pull request cannot be reported on", error=str(error), tries=tries)
            self.metrics.failed("forge", error)
            self._refuse(request.number, str(error))
            self._done[request.number] = _tried_again(done, error, tries)
            return
        self._refuse(request.number, None)
        self._done[request.number] = done
        self.metrics.reviews.labels(report.status.state.value).inc()
        bound.info("pull request planned", status=report.status.state.value)

    def _review(
        self, request: PullRequest, known: DaemonState, *, at_head: bool
    ) -> tuple[Commit, PullRequestReport, AskedKeys] | None:
        """Return a report, its commit, and the asked keys.

        The commit may differ from the listed one: the ref may have moved since, or be behind it.
        Then None is returned where it must be ``at_head``.
        """
        proposals = self.planner.proposals

        def review() -> tuple[Commit, PullRequestReport, AskedKeys] | None:
            head = request.head
            if not proposals.has(head):
                head = proposals.fetch_head(request.ref)
                if head != request.head and at_head:
                    return None
            found = self.planner.review(known, head)
            refused = self.planner.refusal(known, head)
            report = report_of(self.setup, found, refused, known.collection)
            return head, report, AskedKeys.of(found)

        with self.crashes.attempt(request.head):
            return rebuilding(review, proposals.remake)

    def _refuse(self, number: int, message: str | None) -> None:
        """Note that the forge refuses a request's report; None: it does not."""
        self._refused.pop(number, None)
        if message is not None:
            self._refused[number] = message
        self.troubles.pop("pull request", None)
        if self._refused:
            last = next(reversed(self._refused.values()))
            count = counted(len(self._refused), "pull request")
            self.troubles["pull request"] = f"{count} cannot be reported on: {last}"

    # -- sending ---------------------------------------------------------------------------

    async def _send(self, request: PullRequest, head: Commit, report: PullRequestReport) -> None:
        """Send the missing parts of a report to the forge.

        Raises ForgeError.
        """
        if not self.permission.leads():
            raise ForgeError("another replica leads now", Trouble.CONFLICT)
        section = self._section
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


def _tried_again(done: _Done, error: ForgeError, tries: int) -> _Done:
    """Return a refused request with the time of its next try.

    What lacks a right is, until it has it: a token rotates, and rights are granted. What the forge
    cannot accept is not, until the request changes.
    """
    if error.trouble is Trouble.REJECTED:
        return replace(done, tries=tries if tries < MOST_TRIES else 0)
    return replace(done, tries=tries, due=time.monotonic() + RETRY.delay(tries))


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
    async with connected(setup, section, site) as forge:
        planner = await asyncio.to_thread(PullRequestPlanner, setup)
        crashes = await asyncio.to_thread(CrashRecord, git_folder(setup) / "pull-requests")
        controller = PullRequestController(
            setup, forge, planner, permission, state, metrics, troubles, crashes
        )
        async with controller.loop.running():
            yield controller
