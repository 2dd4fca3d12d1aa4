"""Collections by Jobs: recorded first, given way to, repeated, and never believed in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.backoff import Backoff
from reconciler.daemon import mounted_artifacts
from reconciler.daemon.bucket_parts import MountedBuckets
from reconciler.daemon.mounted_artifacts import MountedArtifacts
from reconciler.daemon.retention_record import CollectionRecord
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import (
    ArtifactOrder,
    EngineError,
    JobEndedError,
    OrderKind,
    OrderOutcome,
    OrderResult,
    PodRefusedError,
    Result,
    Wanted,
)
from reconciler.engines.local import ArtifactFacts, ArtifactState
from reconciler.git import GitError
from reconciler.metrics import Metrics
from reconciler.planner import RetainedArtifact
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import Kind, ObjectRef, TaskKey, TaskKind
from tests.git.copies import status_branch_at
from tests.patience import PATIENCE

ONE, TWO, THREE = TaskKey("1" * 40), TaskKey("2" * 40), TaskKey("3" * 40)
BUCKET = "pvc://models"
REF = ObjectRef(Kind.MODEL, "default", "a")
AWAY = EngineError(Reason.of(ReasonCode.ENGINE_UNAVAILABLE, detail="away"))
REFUSED = PodRefusedError(Reason.of(ReasonCode.POD_REFUSED, job="r-collect", detail="restricted"))
_COMPLETE, _HIDDEN, _ = ArtifactState


@dataclass
class Bucket:
    """The states of artifacts, and Jobs that can be held up, or fail."""

    states: dict[TaskKey, ArtifactState | None] = field(default_factory=dict)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    #: Some orders have come to an end.
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[EngineError] = field(default_factory=list)
    done: list[tuple[OrderKind, TaskKey]] = field(default_factory=list)
    #: Whether no Job with orders gets a pod.
    refusing: bool = False
    #: Namespaces in which no Job ends.
    stuck: set[str] = field(default_factory=set)
    #: Whether orders take effect although what has come of them is not known.
    silent: bool = False

    def __post_init__(self) -> None:
        self.held.set()

    async def list_artifacts(
        self, wanted: Iterable[Wanted]
    ) -> Mapping[TaskKey, ArtifactFacts | EngineError | None]:
        wanted = [*wanted]
        self.begun.set()
        await self.held.wait()
        await self._stuck(wanted)
        if self.errors:
            return {item.key: self.errors[0] for item in wanted}
        found = {item.key: self.states[item.key] for item in wanted}
        return {k: ArtifactFacts(state=s, size=1) if s else None for k, s in found.items()}

    async def carry_out(
        self, orders: Sequence[ArtifactOrder]
    ) -> Mapping[TaskKey, OrderResult | EngineError]:
        self.begun.set()
        if any(order.kind is not OrderKind.RESTORE for order in orders):
            await self.held.wait()
        await self._stuck(order.artifact for order in orders)
        self.ended.set()
        if self.refusing:
            return {order.artifact.key: REFUSED for order in orders}
        if self.errors:
            error = self.errors.pop()
            return {order.artifact.key: error for order in orders}
        found: dict[TaskKey, OrderResult | EngineError] = {}
        for order in orders:
            key = order.artifact.key
            self.done.append((order.kind, key))
            found[key] = AWAY if self.silent else self._one(order.kind, key)
            if self.silent:
                self._one(order.kind, key)
        return found

    async def _stuck(self, wanted: Iterable[Wanted]) -> None:
        if any(f"/namespaces/{name}/" in (w.url or "") for w in wanted for name in self.stuck):
            await asyncio.Event().wait()

    async def probe(self, artifact: Wanted) -> EngineError | None:
        return REFUSED if self.refusing else None

    def _one(self, kind: OrderKind, key: TaskKey) -> OrderResult:
        state = self.states[key]
        if state is None:
            return OrderResult(OrderOutcome.GONE)
        if kind is OrderKind.REMOVE and state is _HIDDEN:
            self.states[key] = None
            return OrderResult(OrderOutcome.REMOVED, 5)
        if kind is not OrderKind.REMOVE:
            self.states[key] = _HIDDEN if kind is OrderKind.HIDE else _COMPLETE
        hidden = self.states[key] is _HIDDEN
        return OrderResult(OrderOutcome.HIDDEN if hidden else OrderOutcome.COMPLETE)


@dataclass
class Site:
    """A store with complete artifacts, the third in another namespace, and their bucket."""

    store: StatusStore
    bucket: Bucket = field(default_factory=Bucket)
    asked: set[TaskKey] = field(default_factory=set)
    replanned: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for key in (ONE, TWO, THREE):
            self.bucket.states[key] = _COMPLETE
            self.store.ledger.complete(key, TaskKind.TRAIN, Result(url=self.url(key)))
        self.mounted = MountedArtifacts(
            mounted=MountedBuckets(
                jobs=self.bucket,
                has=lambda url: url.startswith(f"{BUCKET}/"),
                listed=True,
            ),
            record=CollectionRecord(self.store, Metrics()),
            lock=asyncio.Lock(),
            is_asked_for=lambda artifact: artifact.key in self.asked,
            restored=self.replanned.set,
        )

    @staticmethod
    def url(key: TaskKey) -> str:
        namespace = "other" if key == THREE else "default"
        return f"{BUCKET}/clusters/c/namespaces/{namespace}/models/a/{key}/"

    def artifact(self, key: TaskKey) -> RetainedArtifact:
        return RetainedArtifact(
            key=key,
            ref=REF,
            url=self.url(key),
            made=datetime(2026, 1, 1, tzinfo=UTC),
            size=1,
            hidden=self.store.ledger.hidden.get(key),
        )

    async def restored(self, *keys: TaskKey) -> None:
        """Run what restores until these, or all, are restored, or gone."""
        restoring = self.store.ledger.restoring
        await self.told(lambda: not (restoring.keys() & keys if keys else restoring))

    async def told(self, done: Callable[[], bool]) -> None:
        """Run what restores, and look at each sync that is asked for."""
        running = asyncio.create_task(self.mounted.run())
        try:
            async with asyncio.timeout(PATIENCE):
                while not done():
                    await self.replanned.wait()
                    self.replanned.clear()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(mounted_artifacts, "_RETRY", Backoff(first=0.001, longest=0.001))
    branch = status_branch_at(tmp_path / "status.git", (tmp_path / "remote.git").as_uri())
    return Site(StatusStore(branch, cluster="local", instance="default", path=""))


async def test_what_is_hidden_is_pushed_before_its_job_is_created(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[TaskKey], bool]] = []

    async def flush() -> bool:
        seen.append((set(site.store.ledger.hidden), site.bucket.begun.is_set()))
        return False

    monkeypatch.setattr(site.store, "flush", flush)
    await site.mounted.collect([site.artifact(ONE)], [])
    assert seen == [({ONE}, False)]
    assert site.bucket.states == {ONE: _HIDDEN, TWO: _COMPLETE, THREE: _COMPLETE}


async def test_where_the_record_cannot_be_pushed_no_job_is_created(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flush() -> bool:
        raise GitError("the remote is away")

    monkeypatch.setattr(site.store, "flush", flush)
    with pytest.raises(GitError):
        await site.mounted.collect([site.artifact(ONE)], [])
    assert not site.bucket.begun.is_set()
    assert not site.store.ledger.hidden, "what is found complete later, a user has taken back"


async def test_what_is_asked_for_by_now_gets_no_order(site: Site) -> None:
    site.asked = {ONE}
    await site.mounted.collect([site.artifact(ONE), site.artifact(TWO)], [])
    assert site.bucket.done == [(OrderKind.HIDE, TWO)]
    assert site.store.ledger.hidden.keys() == {TWO}


async def test_what_was_hidden_long_enough_is_removed(site: Site) -> None:
    await site.mounted.collect([site.artifact(ONE)], [])
    (removed,) = await site.mounted.collect([], [site.artifact(ONE)])
    assert (removed.name, removed.freed) == (ONE, 5)
    assert ONE in site.store.ledger.collected
    assert site.bucket.states[ONE] is None


async def test_what_a_user_has_taken_back_is_not_removed(site: Site) -> None:
    await site.mounted.collect([site.artifact(ONE)], [])
    site.bucket.states[ONE] = _COMPLETE
    assert await site.mounted.collect([], [site.artifact(ONE)]) == []
    assert ONE in site.store.ledger.completed
    assert ONE not in site.store.ledger.hidden


async def test_a_restore_ends_the_collection_that_is_under_way(site: Site) -> None:
    site.bucket.held.clear()
    collecting = asyncio.create_task(site.mounted.collect([site.artifact(ONE)], []))
    await site.bucket.begun.wait()
    site.mounted.restore(ONE)
    assert ONE not in site.store.ledger.completed, "nothing is made of it meanwhile"
    assert await collecting == []
    site.bucket.held.set()
    await site.restored()
    assert site.bucket.done == [], "a list found it complete"
    assert ONE in site.store.ledger.completed
    assert not site.store.ledger.hidden


async def test_a_job_that_hid_it_all_the_same_is_followed_by_one_that_restores(
    site: Site,
) -> None:
    site.bucket.silent = True
    await site.mounted.collect([site.artifact(ONE)], [])
    assert site.store.ledger.hidden.keys() == {ONE}
    assert site.bucket.states[ONE] is _HIDDEN
    site.bucket.silent = False
    site.mounted.restore(ONE)
    await site.restored()
    assert site.bucket.states[ONE] is _COMPLETE
    assert ONE in site.store.ledger.completed


async def test_a_restore_is_tried_again_until_it_is_done(site: Site) -> None:
    await site.mounted.collect([site.artifact(ONE)], [])
    site.bucket.errors = [AWAY] * 3
    site.mounted.restore(ONE)
    await site.restored()
    assert not site.bucket.errors
    assert ONE in site.store.ledger.completed


async def test_what_is_gone_by_then_is_no_more_waited_for(site: Site) -> None:
    await site.mounted.collect([site.artifact(ONE)], [])
    site.bucket.states[ONE] = None
    site.mounted.restore(ONE)
    await site.restored()
    assert ONE in site.store.ledger.collected
    assert ONE not in site.store.ledger.completed


async def test_a_collection_that_ends_takes_its_job_along(site: Site) -> None:
    site.bucket.held.clear()
    collecting = asyncio.create_task(site.mounted.collect([site.artifact(ONE)], []))
    await site.bucket.begun.wait()
    collecting.cancel()
    await asyncio.wait([collecting])
    assert collecting.cancelled()
    site.bucket.held.set()
    await asyncio.sleep(0)
    assert site.bucket.done == []


async def test_what_is_complete_is_listed_once_and_what_is_hidden_each_time(site: Site) -> None:
    every = [site.artifact(ONE), site.artifact(TWO)]
    found = await site.mounted.read(every)
    assert (set(found.facts), found.unread, found.reasons) == ({ONE, TWO}, {}, [])
    site.bucket.begun.clear()
    await site.mounted.read(every)
    assert not site.bucket.begun.is_set()
    await site.mounted.collect([site.artifact(ONE)], [])
    site.bucket.begun.clear()
    found = await site.mounted.read([site.artifact(ONE), site.artifact(TWO)])
    assert site.bucket.begun.is_set()
    assert {key: each and each.state for key, each in found.facts.items()} == {
        ONE: _HIDDEN,
        TWO: _COMPLETE,
    }


async def test_of_a_list_that_fails_the_artifacts_are_unread(site: Site) -> None:
    site.bucket.errors = [AWAY]
    found = await site.mounted.read([site.artifact(ONE), site.artifact(TWO)])
    assert (found.facts, found.unread) == ({}, {ONE: None, TWO: None})
    (reason,) = found.reasons
    assert reason.code is ReasonCode.ARTIFACTS_KEPT


async def test_what_a_list_has_said_before_is_known_while_one_fails(site: Site) -> None:
    await site.mounted.read([site.artifact(ONE), site.artifact(TWO)])
    await site.mounted.collect([site.artifact(ONE)], [])
    site.bucket.errors = [AWAY]
    found = await site.mounted.read([site.artifact(ONE), site.artifact(TWO)])
    assert set(found.facts) == {TWO}
    assert found.unread == {ONE: ArtifactFacts(state=_COMPLETE, size=1)}


async def test_a_list_gives_way_to_a_restore(site: Site) -> None:
    site.bucket.held.clear()
    reading = asyncio.create_task(site.mounted.read([site.artifact(TWO)]))
    await site.bucket.begun.wait()
    site.mounted.restore(ONE)
    found = await reading
    assert (found.facts, found.unread) == ({}, {ONE: None, TWO: None})
    assert len(found.reasons) == 1


async def test_what_is_asked_for_before_the_job_is_created_comes_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flush() -> bool:
        site.mounted.restore(ONE)
        return False

    monkeypatch.setattr(site.store, "flush", flush)
    every = [site.artifact(ONE), site.artifact(TWO)]
    assert await site.mounted.collect(every, []) == []
    assert site.bucket.done == [], "no order before the restore"
    await site.restored()
    assert site.bucket.done == [], "a list found it complete"
    assert not site.store.ledger.hidden, "and the other one"
    assert site.bucket.states == {ONE: _COMPLETE, TWO: _COMPLETE, THREE: _COMPLETE}


async def test_a_namespace_without_pods_holds_up_no_other(site: Site) -> None:
    await site.mounted.collect([site.artifact(ONE), site.artifact(THREE)], [])
    site.bucket.stuck = {"default"}
    site.mounted.restore(ONE)
    site.mounted.restore(THREE)
    await site.restored(THREE)
    assert site.store.ledger.restoring.keys() == {ONE}
    assert THREE in site.store.ledger.completed


async def test_an_order_that_is_stuck_holds_up_no_other_part(site: Site) -> None:
    site.bucket.stuck = {"default"}
    collecting = asyncio.create_task(
        site.mounted.collect([site.artifact(ONE), site.artifact(THREE)], [])
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await site.bucket.ended.wait()
        assert site.bucket.states[THREE] is _HIDDEN
        site.mounted.restore(THREE)
        await site.restored()
        assert THREE in site.store.ledger.completed
        assert not collecting.done()
    finally:
        collecting.cancel()
        await asyncio.wait([collecting])


async def test_a_new_request_ends_the_pause_before_the_next_try(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounted_artifacts, "_RETRY", Backoff(first=3600.0, longest=3600.0))
    await site.mounted.collect([site.artifact(ONE), site.artifact(TWO)], [])
    site.bucket.errors = [AWAY]
    site.bucket.ended.clear()
    site.mounted.restore(ONE)
    restoring = asyncio.create_task(site.restored())
    async with asyncio.timeout(PATIENCE):
        await site.bucket.ended.wait()
    site.mounted.restore(TWO)
    await restoring
    assert not site.store.ledger.restoring


# -- where no pod with orders is admitted ----------------------------------------------------------


async def test_where_the_pod_was_refused_nothing_is_hidden_until_one_could_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.bucket.refusing = True
    await site.mounted.collect([site.artifact(ONE)], [])
    assert not site.store.ledger.hidden, "a list found it complete"
    (reason,) = site.mounted.refusals()
    assert "restricted" in message(reason)
    pushed: list[set[TaskKey]] = []

    async def flush() -> bool:
        pushed.append({*site.store.ledger.hidden})
        return False

    monkeypatch.setattr(site.store, "flush", flush)
    await site.mounted.collect([site.artifact(ONE)], [])
    assert pushed == [], "it is not recorded again"
    site.bucket.refusing = False
    await site.mounted.collect([site.artifact(ONE)], [])
    assert pushed == [{ONE}]
    assert site.bucket.states[ONE] is _HIDDEN
    assert site.mounted.refusals() == []


async def test_what_was_never_hidden_is_restored_where_the_pod_is_refused(site: Site) -> None:
    site.mounted.record.hidden(ONE)  # by an earlier daemon, whose Job did not come to it
    site.bucket.refusing = True
    site.mounted.restore(ONE)
    await site.restored()
    assert ONE in site.store.ledger.completed


async def test_of_what_cannot_be_restored_the_cause_is_told(site: Site) -> None:
    await site.mounted.collect([site.artifact(ONE)], [])
    site.bucket.refusing = True
    site.mounted.restore(ONE)
    ledger = site.store.ledger
    await site.told(lambda: bool(ledger.obstacles))
    assert ONE not in ledger.completed
    assert "restricted" in message(ledger.restoring_reason(ONE))
    site.bucket.refusing = False
    site.mounted.restore(ONE)
    await site.restored()
    assert ONE in ledger.completed
    assert not ledger.obstacles


# -- outcomes that are not known -------------------------------------------------------------------


async def test_what_an_order_without_outcome_left_complete_is_not_hidden(site: Site) -> None:
    site.bucket.errors = [AWAY]
    await site.mounted.collect([site.artifact(ONE)], [])
    assert not site.store.ledger.hidden


async def test_what_is_complete_after_somebody_ended_the_job_was_taken_back(site: Site) -> None:
    site.bucket.errors = [JobEndedError(AWAY.reason)]
    await site.mounted.collect([site.artifact(ONE)], [])
    assert site.bucket.states[ONE] is _COMPLETE
    assert site.store.ledger.hidden.keys() == {ONE}, "the next collection notes it as restored"
