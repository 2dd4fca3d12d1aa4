"""Pull requests of the daemon for newer commits and newer artifacts.

They are for pinned commits and keys.

There is one request for each source of an object, on a branch of its own with one commit, which
changes the pinned value and nothing else. It is edited in place when there is something newer
still, and closed when it has nothing to change any more. The daemon merges nothing: a request that
somebody closes is not opened again for the same value. All memory is on the forge and in the
branch, so that a restart or another leader goes on with the same requests.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import product

import structlog

from reconciler.config import RequestsSection, ReviewSection, Setup
from reconciler.daemon.forge_loop import ForgeLoop, connected
from reconciler.daemon.shutdown import WritePermission
from reconciler.errors import GitError, Trouble
from reconciler.forge import Forge, ForgeError, OwnRequest
from reconciler.git import ForeignCommitError, LocalRepository, Sources, UpdateBranches
from reconciler.manifests import CannotEditError, replace_value
from reconciler.metrics import Metrics
from reconciler.planner import Plan, PlanCache, RemoteStatus, Unavailable
from reconciler.review import (
    Update,
    by_urgency,
    pinned_promotions,
    pinned_sources,
    promotion_updates,
    source_updates,
)
from reconciler.types import Commit, ForeignRef, ObjectRef, ResolvedSource, SourceField
from reconciler.workspace import (
    RemoteStatusReader,
    git_folder,
    source_reader,
    update_branches,
)

log = structlog.get_logger(__name__)

#: Seconds that a round waits for the remotes of pinned sources.
_PATIENCE = 30.0
#: Rounds in which a branch that was pushed may be missing at the forge.
MOST_UNSEEN = 5
#: Bytes of a file of manifests.
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Sent:
    """The update and the head of a request's last push."""

    update: Update
    head: Commit


@dataclass(slots=True)
class UpdateRequestController:
    """Opens, edits and closes the requests of one repository.

    ``plan`` returns the last plan of the head, None before the first sync.
    """

    setup: Setup
    section: RequestsSection
    forge: Forge
    branches: UpdateBranches
    sources: Sources
    permission: WritePermission
    plan: Callable[[], Plan | None]
    metrics: Metrics
    troubles: dict[str, str]
    loop: ForgeLoop = field(init=False)
    _sent: dict[str, _Sent] = field(default_factory=dict)
    _decided: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, _Sent] = field(default_factory=dict)
    _unseen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loop = ForgeLoop(
            "requests",
            "updates cannot be requested",
            self._review.interval,
            self.round,
            self.metrics,
            self.troubles,
        )

    @property
    def _review(self) -> ReviewSection:
        review = self.setup.config.review
        assert review is not None
        return review

    async def round(self) -> None:
        """Open, edit and close requests, once.

        Raises ForgeError and GitError.
        """
        plan = self.plan()
        if plan is None or not self.permission.leads():
            return
        updates, unknown = await self._updates(plan)
        target, head = self.setup.config.repository.branch, plan.inputs.head
        wanted = {self._branch(update.ref, update.source): update for update in updates}
        kept = {self._branch(ref, field) for ref, field in unknown}
        listed = await self.forge.open_requests(target, self._review.open)
        own = {r.branch: r.number for r in listed if self._is_own(r.branch) and not r.is_fork}
        for branch, number in own.items():
            if branch not in wanted and branch not in kept:
                await self._close(target, branch, number)
        still = len([branch for branch in own if branch in wanted or branch in kept])
        for update in by_urgency(updates):
            branch = self._branch(update.ref, update.source)
            if branch not in own and still >= self.section.limit:
                continue
            if await self._request(target, branch, update, head, is_open=branch in own):
                still += branch not in own

    def _branch(self, ref: ObjectRef, source: SourceField) -> str:
        return self.section.branch_of(ref, source, self.setup.config.cluster)

    def _is_own(self, branch: str) -> bool:
        return self.section.is_own(branch, self.setup.config.cluster)

    # -- what to request -------------------------------------------------------------------

    async def _updates(self, plan: Plan) -> tuple[list[Update], set[tuple[ObjectRef, SourceField]]]:
        """Return the updates, and the objects' sources that cannot be looked up."""
        unknown = set(product(plan.inputs.invalid, SourceField))
        found: list[Update] = []
        if self.section.promotions:
            promoted = pinned_promotions(plan)
            foreign = {t for t in promoted.values() if isinstance(t, ForeignRef)}
            remote = await self.loop.in_thread(lambda: self._read_remote(plan)) if foreign else {}
            found += await self.loop.in_thread(lambda: list(promotion_updates(plan, remote)))
            unknown |= {
                (ref, SourceField.OBJECT)
                for ref, target in promoted.items()
                if isinstance(target, ForeignRef) and _is_unknown(remote, target)
            }
        if self.section.sources:
            pinned = pinned_sources(plan)
            resolved = await self.loop.in_thread(lambda: self.sources.resolve({*pinned.values()}))
            heads = {slot: resolved[source] for slot, source in pinned.items()}
            known = {slot: at for slot, at in heads.items() if isinstance(at, ResolvedSource)}
            found += await self.loop.in_thread(lambda: list(source_updates(plan, known)))
            unknown |= heads.keys() - known.keys()
        return found, unknown

    def _read_remote(self, plan: Plan) -> RemoteStatus:
        mirror = LocalRepository.open(git_folder(self.setup) / "manifests.git")
        manifests = {ref: item.manifest for ref, item in plan.inputs.desired.items()}
        reader = RemoteStatusReader.local(mirror, self.setup.cluster_branches)
        return reader.read(manifests, PlanCache())

    # -- requests --------------------------------------------------------------------------

    async def _request(
        self, target: str, branch: str, update: Update, head: Commit, *, is_open: bool
    ) -> bool:
        """Open or edit the request of an update.

        Returns whether one is open then.
        """
        if is_open and self._sent.get(branch) == _Sent(update, head):
            return True
        if not is_open and self._decided.get(branch) == update.title:
            return False
        if self._refused.get(branch) == _Sent(update, head):
            return is_open
        bound = log.bind(object=str(update.ref), branch=branch)
        before = await self.forge.own_requests(target, branch)
        opened = next((request for request in before if request.is_open), None)
        if opened is None and any(request.title == update.title for request in before):
            # Merged, and not synced yet or reverted since; or closed by a user, who declines it.
            self._decided[branch] = update.title
            bound.info("an update was decided on before", title=update.title)
            return False
        if opened is None and is_open:
            return True  # somebody else's, from a branch of this name
        try:
            await self.loop.in_thread(lambda: self._push(branch, update, head))
        except (ForeignCommitError, CannotEditError) as error:
            bound.warning("an update cannot be requested", error=str(error))
            self._refused[branch] = _Sent(update, head)
            return opened is not None
        self._check_permission()
        body = _body(update, planned=self._review.comment)
        if opened is None:
            made = await self._open(target, branch, update.title, body)
            if made is None:
                return False
            bound.info("update requested", request=made.number, title=update.title)
        elif opened.title != update.title or not _is_in(opened, update):
            await self.forge.revise(opened.number, update.title, body)
            bound.info("update request edited", request=opened.number, title=update.title)
        self._sent[branch] = _Sent(update, head)
        return True

    def _push(self, branch: str, update: Update, head: Commit) -> None:
        """Set the branch to the commit of an update.

        Raises GitError and CannotEditError.
        """
        self.branches.fetch_base(head)
        data = self.branches.read_file(head, update.file, _LARGEST_FILE + 1)
        if data is None or len(data) > _LARGEST_FILE:
            raise CannotEditError(f"{update.file} cannot be read")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise CannotEditError(f"{update.file} is not UTF-8") from error
        changed = replace_value(
            text, file=update.file, ref=update.ref, field=update.field, value=update.new
        )
        self._check_permission()
        self.branches.propose(branch, head, update.file, changed.encode(), f"{update.title}\n")

    async def _open(self, target: str, branch: str, title: str, body: str) -> OwnRequest | None:
        """Open a request; None if the forge lacks the branch yet.

        Gitea's tables follow its pushes. Then the next round follows soon.
        """
        try:
            made = await self.forge.open(target, branch, title, body)
        except ForgeError as error:
            times = self._unseen.get(branch, 0) + 1
            if error.trouble is not Trouble.MISSING or times > MOST_UNSEEN:
                raise
            self._unseen[branch] = times
            log.info("a branch is not at the forge yet", branch=branch, error=str(error))
            self.loop.poll()
            return None
        self._unseen.pop(branch, None)
        return made

    async def _close(self, target: str, branch: str, number: int) -> None:
        """Close a request of ours that has nothing to change any more.

        It is closed last: until then a daemon that is killed leaves a request that the next one
        finds, and closes with the rest.
        """
        own = await self.forge.own_requests(target, branch)
        if not any(request.number == number and request.is_open for request in own):
            return
        self._check_permission()
        if await self.forge.own_comment(number, OBSOLETE) is None:
            await self.forge.comment(number, OBSOLETE)
        try:
            await self.loop.in_thread(lambda: self.branches.delete(branch))
        except GitError as error:
            log.warning("a branch cannot be deleted", branch=branch, error=str(error))
        self._check_permission()
        await self.forge.close(number)
        self._sent.pop(branch, None)
        log.info("update request closed", branch=branch, request=number)

    def _check_permission(self) -> None:
        if not self.permission.leads():
            raise ForgeError("another replica leads now", Trouble.CONFLICT)


#: The comment of a request that is closed.
OBSOLETE = "Obsolete: the branch has this value, or there is nothing newer than its value any more."
_USED = "Merging it has the new value used; its plan is "
_PLANNED = "in the comment of the reconciler."
_UNPLANNED = "what `reconciler plan` prints in a clone with this branch."
_DECLINED = "Closing it declines this value: the next request comes with a newer one."


def _is_unknown(remote: RemoteStatus, target: ForeignRef) -> bool:
    return isinstance(remote.get(target, Unavailable("")), Unavailable)


def _digest(update: Update) -> str:
    """Return the mark of a request's text.

    The estimate is not in it, or each run that ends would edit all open requests.
    """
    text = f"{update.title}\n{update.text}"
    return f"<!-- {hashlib.sha256(text.encode()).hexdigest()[:40]} -->"


def _body(update: Update, *, planned: bool) -> str:
    """Write the text of a request.

    ``planned``: its plan comes as a comment.
    """
    advice = f"{_USED}{_PLANNED if planned else _UNPLANNED} {_DECLINED}"
    text = f"{update.text} {update.estimate}".rstrip()
    return f"{text}\n\n{advice}\n\n{_digest(update)}"


def _is_in(request: OwnRequest, update: Update) -> bool:
    return request.body.rstrip().endswith(_digest(update))


@asynccontextmanager
async def requesting_updates(
    setup: Setup,
    permission: WritePermission,
    plan: Callable[[], Plan | None],
    *,
    metrics: Metrics,
    troubles: dict[str, str],
) -> AsyncIterator[UpdateRequestController | None]:
    """Run the configured controller during the block; None without one."""
    section, review, site = setup.config.requests, setup.config.review, setup.forge
    if section is None or review is None or site is None:
        yield None
        return
    async with connected(setup, review, site) as forge:
        branches = await asyncio.to_thread(update_branches, setup)
        sources = source_reader(setup, patience=_PATIENCE, folder="requests-sources")
        controller = UpdateRequestController(
            setup, section, forge, branches, sources, permission, plan, metrics, troubles
        )
        async with controller.loop.running():
            yield controller
