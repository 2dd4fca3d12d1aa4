"""Collection of artifacts, beside the daemon's loop.

One lock keeps a step of it and a sync apart: what a sync plans with is there until its plan is
applied, and a step is taken only of what the last plan does not ask for. A sync that asks for a
hidden artifact takes it back first; the grace time is for that. So is every look for a loss: of an
artifact whose marker is hidden nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from reconciler import stores
from reconciler.codec import whole_seconds
from reconciler.daemon.image_remover import ImageRemover
from reconciler.daemon.mounted_artifacts import MountedArtifacts
from reconciler.daemon.pull_request_planner import DaemonState
from reconciler.daemon.retention_reader import (
    MarkerReader,
    RecordedArtifacts,
    recorded_artifacts,
    restoring_references,
)
from reconciler.daemon.retention_record import CollectionRecord
from reconciler.daemon.retention_remains import RemainsReader
from reconciler.daemon.retention_sources import RetentionSources
from reconciler.daemon.status_store import StatusStore
from reconciler.engine import Collected, CollectedKind
from reconciler.engines.local import ArtifactPlaceError, ArtifactState
from reconciler.metrics import Metrics
from reconciler.planner import (
    AskedFor,
    ObjectStatus,
    Plan,
    Remains,
    RetainedArtifact,
    RetentionInput,
    collect_roots,
    desired_keys_of,
    desired_references,
    has_unreferenced,
    plan_doubts,
    plan_retention,
    recorded_references,
    run_doubts,
    run_references,
    unreadable,
)
from reconciler.reasons import Reason
from reconciler.status import CollectionReport
from reconciler.types import TaskKey

log = structlog.get_logger(__name__)

#: Doubts that are reported; one is enough for nothing to be collected.
MOST_DOUBTS = 20


@dataclass(slots=True)
class Retention:
    """Hides, restores and removes artifacts by the policy.

    ``plan`` returns the last applied plan, ``state`` the daemon's state; None before the first
    sync. ``replan`` asks for a sync. ``doubtful`` is True if the last collection had doubts.
    """

    sources: RetentionSources
    store: StatusStore
    metrics: Metrics
    plan: Callable[[], Plan | None]
    state: Callable[[], DaemonState | None]
    replan: Callable[[], None]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    doubtful: bool = field(init=False, default=False)
    markers: MarkerReader = field(init=False)
    remains: RemainsReader = field(init=False)
    record: CollectionRecord = field(init=False)
    mounted: MountedArtifacts = field(init=False)
    _asked: tuple[Plan, AskedFor] | None = None

    def __post_init__(self) -> None:
        # A mere report asks no registry, which may be in a network: it does without sizes.
        images = self.sources.images if self.sources.policy.enabled else None
        places, mounted, own = self.sources.places, self.sources.mounted, self.sources.own
        self.markers = MarkerReader(places, images)
        if mounted is not None:  # what failed attempts have left is not looked for there
            own = replace(own, buckets=tuple(b for b in own.buckets if not mounted.has(b)))
        self.remains = RemainsReader(places=places, policy=self.sources.policy, own=own)
        self.record = CollectionRecord(self.store, self.metrics)
        self.mounted = MountedArtifacts(
            mounted=mounted,
            record=self.record,
            lock=self.lock,
            is_asked_for=self._is_asked_for,
            restored=self.replan,
        )

    # -- in a sync, which holds the lock --------------------------------------------------------

    async def restore_desired(self, plan: Plan) -> bool:
        """Restore a plan's hidden artifacts; True if one is not there yet.

        It is removed already, or a Job restores it.
        """
        hidden = self.store.ledger.hidden.keys() - self.store.ledger.restoring.keys()
        if not hidden:
            return False
        # What the unchanged objects ask for was asked for before, and so is not hidden.
        asked = {key for key, _ in desired_keys_of(plan, plan.decided)} & hidden
        await self.take_back(sorted(asked))
        return bool(asked - self.store.ledger.completed.keys())

    async def take_back(self, keys: Iterable[TaskKey]) -> set[TaskKey]:
        """Restore those of these complete artifacts that are hidden; return which.

        Those that Jobs restore are complete no more until that is done.
        """
        restored: set[TaskKey] = set()
        known = self._recorded(datetime.now(UTC))
        asked = [known[key] for key in keys if key in known]
        gone = await asyncio.to_thread(self._gone_images, asked)
        for artifact in asked:
            key = artifact.key
            if self.mounted.has(artifact):
                if key in self.store.ledger.hidden:
                    self.mounted.restore(key)
                    restored.add(key)
                continue
            try:
                if artifact.is_image:
                    there = artifact.url not in gone if artifact.hidden is not None else None
                else:
                    there = await asyncio.to_thread(self._restore, artifact)
            except ArtifactPlaceError as error:
                self.record.failed(error)
                continue
            if there is False and key in self.store.ledger.hidden:
                self.record.removed(key)
            elif there:
                restored.add(key)
                self.record.restored(key)
        return restored

    def _restore(self, artifact: RetainedArtifact) -> bool | None:
        """Restore an artifact; None if it is not hidden."""
        places = self.sources.places
        facts = places.read(artifact.url, artifact.key)
        if facts is not None and facts.state is ArtifactState.COMPLETE:
            return True if artifact.hidden is not None else None
        return places.restore(artifact.url, artifact.key) if facts is not None else False

    def _gone_images(self, artifacts: Iterable[RetainedArtifact]) -> set[str]:
        """Return the hidden images that are certainly gone."""
        hidden = [a.url for a in artifacts if a.is_image and a.hidden is not None]
        if self.sources.images is None or not hidden:
            return set()
        return {url for url, size in self.sources.images.sizes(hidden).items() if size is None}

    # -- beside the syncs ------------------------------------------------------------------------

    async def collect(self) -> list[Collected]:
        """Collect once, or only report; return the removed artifacts."""
        plan, state = self.plan(), self.state()
        if plan is None or state is None or not self._is_readable:
            return []
        # A newer commit that is fetched, and not planned yet, may ask for anything.
        state = replace(state, head=plan.inputs.head)
        inputs, recorded = await self._inputs(plan, state)
        self.doubtful = bool(inputs.doubts)
        steps, removed = plan_retention(inputs), list[Collected]()
        enabled = inputs.policy.enabled
        hide = [inputs.artifacts[key] for key in steps.hide if enabled]
        images, others = _divided(inputs.artifacts[key] for key in steps.remove if enabled)
        if enabled:
            for artifact in hide:
                await self._hide(artifact)
            for artifact in others:
                removed += await self._remove(artifact)
            found, refused = await self._remove_images(images)
            removed += found
            untouched = dict.fromkeys((*inputs.untouched, *refused))
            inputs = replace(inputs, untouched=tuple(untouched)[:MOST_DOUBTS])
        remains = await self._remains(inputs) if not inputs.doubts else []
        if enabled:
            for rest in remains:
                removed += await self._remove_rest(rest)
            remains = []
        async with self.lock:
            restored = await self.take_back(steps.restore)
        removed += await self.mounted.collect(hide, others)  # last, as Jobs may take long
        left = recorded.retained(self.store.ledger)
        untouched = dict.fromkeys((*self.mounted.refusals(), *inputs.untouched))
        inputs = replace(inputs, artifacts=left, untouched=tuple(untouched)[:MOST_DOUBTS])
        report = CollectionReport.of(inputs, plan_retention(inputs), remains)
        if self.store.report_collection(report if report.notable else None) or restored:
            self.replan()
        return removed

    @property
    def _is_readable(self) -> bool:
        """False if a mere report would look for credentials in a network.

        Nor does it create Jobs where nothing is configured about retention.
        """
        mounted = self.sources.mounted
        return self.sources.policy.enabled or all(
            mounted.listed
            if mounted is not None and mounted.has(bucket)
            else bucket.startswith("file:") or stores.has_credentials(bucket)
            for bucket in self.sources.own.buckets
        )

    async def _hide(self, artifact: RetainedArtifact) -> None:
        async with self.lock:
            if self.mounted.has(artifact) or self._is_asked_for(artifact):
                return
            try:
                if not artifact.is_image:
                    await asyncio.to_thread(self.sources.places.hide, artifact.url, artifact.key)
            except ArtifactPlaceError as error:
                self.record.failed(error)
                return
            self.record.hidden(artifact.key)
            log.info("artifact hidden", key=artifact.key[:12], url=artifact.url, size=artifact.size)

    async def _remove(self, artifact: RetainedArtifact) -> tuple[Collected, ...]:
        key, places = artifact.key, self.sources.places
        async with self.lock:
            if self.mounted.has(artifact) or self._is_asked_for(artifact):
                return ()
            try:
                freed = await asyncio.to_thread(places.remove, artifact.url, key)
            except ArtifactPlaceError as error:
                self.record.failed(error)
                return ()
            self.record.removed(key)
        kind = CollectedKind.ARTIFACT
        return (Collected(kind=kind, name=key, freed=freed, used=artifact.made),)

    async def _remove_images(
        self, images: Sequence[RetainedArtifact]
    ) -> tuple[list[Collected], list[Reason]]:
        """Delete images; return what was removed, and the refusals."""
        if self.sources.images is None:
            return [], []
        remover = ImageRemover(
            registry=self.sources.images,
            lock=self.lock,
            recorded=lambda: self._recorded(datetime.now(UTC)),
            is_asked_for=self._is_asked_for,
            removed=self.record.removed,
            failed=self.record.failed,
        )
        return await remover.remove(images)

    async def _remains(self, inputs: RetentionInput) -> list[Remains]:
        """Return what failed attempts and tries have left, and may go."""
        store, reader = self.store, self.remains
        records, roots, ledger = self._records(), inputs.roots, store.ledger.copy()
        try:
            return await asyncio.to_thread(reader.read, records, ledger, roots, inputs.now)
        except ArtifactPlaceError as error:
            self.record.failed(error)
            return []

    async def _remove_rest(self, rest: Remains) -> tuple[Collected, ...]:
        key, tried = rest.key, rest.what is CollectedKind.TRY
        async with self.lock:
            asked = self._asked_for()
            if asked is None or key in asked.keys or key in self.store.ledger.completed:
                return ()
            try:
                freed = await asyncio.to_thread(
                    self.sources.places.remove_rest, rest.url, key, tried=tried
                )
            except ArtifactPlaceError as error:
                self.record.failed(error)
                return ()
            self.store.mark_attempts(key, whole_seconds(datetime.now(UTC)))
        return (Collected(kind=rest.what, name=key, freed=freed, used=rest.since),)

    def _asked_for(self) -> AskedFor | None:
        """Return what must be left alone by now; None: everything."""
        plan = self.plan()
        if plan is None or not self.sources.leads():
            return None
        if self._asked is None or self._asked[0] is not plan:
            self._asked = plan, AskedFor.by(plan)
        return self._asked[1]

    def _is_asked_for(self, artifact: RetainedArtifact) -> bool:
        """Return whether an artifact must be left alone by now."""
        asked = self._asked_for()
        gone = self.store.ledger.result(artifact.key) is None
        return asked is None or gone or asked.has(artifact)

    async def _inputs(
        self, plan: Plan, state: DaemonState
    ) -> tuple[RetentionInput, RecordedArtifacts]:
        """Return the input of a collection, and the artifacts as read.

        Other heads can but add references. A mere report does without their look-up, which calls
        the remote, where these here refer to everything.
        """
        store, sources, now = self.store, self.sources, datetime.now(UTC)
        requested, doubts = sources.requests()
        references = [
            *recorded_references(store.records, sources.policy, now),
            *desired_references(plan),
            *run_references(state.state.runs.values()),
            *requested,
        ]
        doubts = [*plan_doubts(plan), *run_doubts(plan), *doubts]
        if store.faults:
            doubts.append(unreadable("status branch", "", str(store.faults[0])))
        recorded = await self._read(self._recorded(now))
        references += restoring_references(self._records(), store.ledger, recorded.unread)
        async with self.lock:
            self._learn(recorded, now)
            # A marker that was moved back counts from now on, in this collection already.
            recorded = replace(recorded, artifacts=self._recorded(now))
        inputs = RetentionInput(
            policy=sources.policy,
            now=now,
            artifacts=recorded.retained(store.ledger),
            roots=collect_roots(references),
            unread=recorded.unread.keys(),
            unknown=frozenset(k for k, said in recorded.unread.items() if said is None),
            released=plan.inputs.released,
        )
        if sources.heads is not None and (sources.policy.enabled or has_unreferenced(inputs)):
            heads = await asyncio.to_thread(sources.heads, state)
            references += heads.references
            doubts += heads.doubts
        doubts += recorded.doubts
        inputs = replace(
            inputs,
            roots=collect_roots(references),
            untouched=recorded.untouched[:MOST_DOUBTS],
            doubts=tuple(dict.fromkeys(doubts))[:MOST_DOUBTS],
        )
        return inputs, recorded

    async def _read(self, artifacts: Mapping[TaskKey, RetainedArtifact]) -> RecordedArtifacts:
        """Read the facts of artifacts, by Jobs where the daemon cannot."""
        own = {key: each for key, each in artifacts.items() if not self.mounted.has(each)}
        recorded = await asyncio.to_thread(self.markers.read, own)
        listed = await self.mounted.read(artifacts.values())
        return replace(
            recorded,
            artifacts=artifacts,
            facts={**recorded.facts, **listed.facts},
            untouched=(*listed.reasons, *recorded.untouched),
            unread=listed.unread,
        )

    def _recorded(self, now: datetime) -> dict[TaskKey, RetainedArtifact]:
        """Return the complete artifacts of all records."""
        return recorded_artifacts(self._records(), self.store.ledger, self.sources.own, now)

    def _records(self) -> list[ObjectStatus]:
        return [*self.store.records.values(), *self.store.removed_records()]

    def _learn(self, recorded: RecordedArtifacts, now: datetime) -> None:
        """Take over the states that differ from the recorded ones.

        A user may have moved a marker back; a daemon may have been killed before it recorded what
        it did. An image that is gone and not hidden is lost, and a sync has it built anew.
        """
        known = self._recorded(now)
        for key, facts in recorded.facts.items():
            hidden = key in self.store.ledger.hidden
            if key in self.store.ledger.restoring:
                continue
            if hidden and facts is None:
                self.record.removed(key)
            elif recorded.artifacts[key].is_image:  # it is hidden in its record alone
                if not hidden and facts is None and known.get(key) == recorded.artifacts[key]:
                    self.store.ledger.lose(key, now)
                    log.warning("image lost", key=key[:12], url=known[key].url)
                    self.replan()
            elif hidden and facts is not None and facts.state is ArtifactState.COMPLETE:
                self.record.restored(key)
            elif not hidden and facts is not None and facts.state is not ArtifactState.COMPLETE:
                self.record.hidden(key)


def _divided(
    artifacts: Iterable[RetainedArtifact],
) -> tuple[list[RetainedArtifact], list[RetainedArtifact]]:
    """Return images, and the others."""
    every = list(artifacts)
    return [a for a in every if a.is_image], [a for a in every if not a.is_image]
