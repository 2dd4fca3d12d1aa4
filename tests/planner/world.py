"""A world for the planner: manifests in memory, and runs that end when a test says so.

Nothing of the planner is replaced; what stands in here is the outside, which the planner only
knows as values.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from reconciler.engine import Capacity, FailureClass, Result, Run, RunPhase, RunSpec
from reconciler.manifests.collection import Collection, amend, collect
from reconciler.manifests.loader import FileContent, read_file
from reconciler.planner.diff import make_plan
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.phases import Phase
from reconciler.planner.plan import ActionKind, Plan, PlanInput
from reconciler.planner.plan_cache import PlanCache
from reconciler.planner.planner_config import PlannerConfig
from reconciler.planner.references import SourceRequests
from reconciler.planner.remote_clusters import RemoteObject, Unavailable
from reconciler.planner.resolver import resolve
from reconciler.planner.status_update import update_status
from reconciler.planner.tasks import ResolvedObject
from reconciler.reasons import Reason, UnresolvedSource
from reconciler.types import (
    BucketSource,
    Commit,
    DataListing,
    ForeignRef,
    FoundSource,
    GitSource,
    Kind,
    ListingDigest,
    Location,
    ObjectRef,
    Problem,
    ResolvedSource,
    SourceField,
    SourceRequest,
    TaskKey,
    TaskKind,
    TreeId,
)

BUCKET = "file:///buckets"
HEAD = Commit("a" * 40)
START = datetime(2026, 1, 1, tzinfo=UTC)


def model(name: str) -> ObjectRef:
    return ObjectRef(Kind.MODEL, "default", name)


def dataset(name: str) -> ObjectRef:
    return ObjectRef(Kind.DATASET, "default", name)


@dataclass
class World:
    """What is in Git, what the sources' trees are, and what runs."""

    files: dict[str, str] = field(default_factory=dict)
    trees: dict[str, str] = field(default_factory=dict)
    settings: PlannerConfig = field(
        default_factory=lambda: PlannerConfig(buckets={Kind.MODEL: BUCKET, Kind.DATASET: BUCKET})
    )
    capacity: Capacity = field(default_factory=lambda: Capacity(containers=True))
    records: dict[ObjectRef, ObjectStatus] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    runs: dict[str, Run] = field(default_factory=dict)
    specs: dict[str, RunSpec] = field(default_factory=dict)
    created: list[RunSpec] = field(default_factory=list)
    released: frozenset[str] = frozenset()
    tenant_releases: dict[str, dict[str, Location]] = field(default_factory=dict)
    tenant_unreadable: dict[str, str] = field(default_factory=dict)
    remote: dict[ForeignRef, RemoteObject | Unavailable] = field(default_factory=dict)
    ahead: bool = False
    now: datetime = START
    head: Commit = HEAD
    parsed: dict[tuple[str, str], FileContent] = field(default_factory=dict)
    cache: PlanCache = field(default_factory=PlanCache)
    collected: tuple[dict[str, str], Collection] | None = None
    requests: dict[ObjectRef, SourceRequests] = field(default_factory=dict)
    sources: dict[SourceRequest, FoundSource | UnresolvedSource] = field(default_factory=dict)
    #: Whether each plan is compared with one without a cache.
    compares: bool = True
    #: What is in the folders that Datasets observe, by URL, named by a test.
    data: dict[str, str] = field(default_factory=dict)

    def tree_of(self, request: GitSource) -> ResolvedSource | UnresolvedSource:
        """A source's tree is named by a test; by default it is made of its place."""
        place = f"{request.url or '.'}//{request.path}"
        name = self.trees.get(place, place)
        if name == "unreachable":
            return UnresolvedSource.unavailable(f"{place} cannot be read: connection refused")
        digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
        return ResolvedSource(Commit(digest), TreeId(digest))

    def listing_of(self, request: BucketSource) -> DataListing | UnresolvedSource:
        """A folder's listing is named by a test; by default it is made of its URL."""
        name = self.data.get(request.url, request.url)
        if name == "unreachable":
            return UnresolvedSource.unavailable(f"{request.url} cannot be listed: it is gone")
        digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
        return DataListing(ListingDigest(digest), files=1, size=10)

    def found(self, request: SourceRequest) -> FoundSource | UnresolvedSource:
        if isinstance(request, BucketSource):
            return self.listing_of(request)
        return self.tree_of(request)

    def read(self, path: str, text: str) -> FileContent:
        """A file is parsed once, as by a daemon."""
        if (path, text) not in self.parsed:
            self.parsed[path, text] = read_file(path, text.encode())
        return self.parsed[path, text]

    def collect(self) -> Collection:
        """All files, as a daemon collects them: from the last time, where that will do."""
        before, found = self.collected or ({}, None)
        if found is None or before != self.files:
            changed = [path for path in self.files if before.get(path) != self.files[path]]
            amended = None
            if found is not None and before.keys() == self.files.keys():
                old = [self.read(path, before[path]) for path in changed]
                amended = amend(found, old, [self.read(path, self.files[path]) for path in changed])
            every = (self.read(path, text) for path, text in self.files.items())
            found = amended or collect(every, clusters=self.settings.clusters)
            self.collected = dict(self.files), found
        return found

    def desired(
        self, cache: PlanCache | None = None
    ) -> tuple[Mapping[ObjectRef, ResolvedObject], dict[ObjectRef, Problem], int, str | None]:
        cache = cache if cache is not None else PlanCache()
        found = self.collect()
        requests: dict[ObjectRef, SourceRequests] = {}
        for ref, manifest in found.objects.items():
            asked: dict[SourceField, SourceRequest] = {}
            if manifest.observed is not None:
                asked[SourceField.OBJECT] = BucketSource(manifest.observed.url, ref.namespace)
            for place, git in manifest.git_sources.items():
                url = "" if git.url == "." else git.url
                asked[place] = GitSource(
                    url=url, path=git.path, branch=git.branch, tag=git.tag, commit=git.commit
                )
            if asked:
                requests[ref] = asked
        sources = {
            request: self.found(request)
            for each in requests.values()
            for request in each.values()
            if not isinstance(request, UnresolvedSource)
        }
        # As a daemon has them: what is equal is the very same.
        requests = self.requests = self.requests if requests == self.requests else requests
        sources = self.sources = self.sources if sources == self.sources else sources
        desired = resolve(
            cluster=self.settings.cluster,
            objects=found.objects,
            sources=sources,
            requests=requests,
            records=cache.snapshot("records", self.records),
            ledger=self.ledger,
            allowed=self.settings.clusters,
            remote=self.remote,
            tenants=self.settings.tenants,
            ahead=self.ahead,
            cache=cache,
        )
        invalid: dict[ObjectRef, Problem] = {}
        for problem in found.problems:
            if problem.object is not None:
                invalid.setdefault(problem.object, problem)
        unreadable = str(found.unreadable[0]) if found.unreadable else None
        return desired, invalid, len(found.objects) + len(found.problems), unreadable

    def plan(self) -> Plan:
        self.ledger.learn_runs(self.runs)
        plan = make_plan(self.inputs(self.cache), self.cache)
        if not self.compares:
            return plan
        anew = make_plan(self.inputs())
        assert plan.inputs.desired == anew.inputs.desired
        for told in ("endings", "removed", "kept", "holds", "released", "retry_at"):
            assert getattr(plan, told) == getattr(anew, told), "the cache changes a plan"
        assert list(plan.decisions) == list(anew.decisions), "the cache changes a plan"
        assert plan.creates() == anew.creates()
        assert not plan.decided.keys() & plan.unchanged.actions.keys()
        counts = Counter((d.task.kind, d.phase) for d in anew.decisions)
        assert +Counter(plan.task_counts()) == counts == +Counter(anew.task_counts())
        return plan

    def inputs(self, cache: PlanCache | None = None) -> PlanInput:
        cache = cache if cache is not None else PlanCache()
        desired, invalid, documents, unreadable = self.desired(cache)
        return PlanInput(
            settings=self.settings,
            head=self.head,
            desired=desired,
            invalid=invalid,
            documents=documents,
            unreadable=unreadable,
            tenant_unreadable=self.tenant_unreadable,
            records=cache.snapshot("records", self.records),
            ledger=self.ledger,
            runs=dict(self.runs),
            capacity=self.capacity,
            released=self.released,
            tenant_releases=self.tenant_releases,
            now=self.now,
            recorded=frozenset(self.runs),
        )

    def sync(self) -> Plan:
        """Plan, and do what it says; runs that are ended are gone at once."""
        plan = self.plan()
        anew = make_plan(self.inputs())
        self.ledger.use_releases(hold.id for hold in plan.released)
        for ending in plan.endings:
            del self.runs[ending.run.name]
        for spec in plan.creates():
            assert spec.name not in self.runs, "a run is created twice"
            live = [run for run in self.runs.values() if run.live and run.key == spec.key]
            assert not live, "two runs of one key"
            self.created.append(spec)
            self.specs[spec.name] = spec
            self.runs[spec.name] = replace(spec.pending(), created=self.now)
        different = {
            ref: record
            for ref, record in update_status(plan, changed={}, places={}).items()
            if record != self.records.get(ref)
        }
        found = {**self.records, **different}
        assert {**self.records, **update_status(anew, changed={}, places={})} == found, (
            "the cache changes a record"
        )
        self.records |= different
        for record in different.values():
            self.ledger.learn_image_keys(record)
        self.cache.applied = plan
        for ref in plan.removed:
            gone = self.records.pop(ref, None)
            if gone is not None:
                self.ledger.removed_spent[ref] = gone.spent
        return plan

    def start(self, name: str) -> None:
        self.runs[name] = replace(self.runs[name], phase=RunPhase.RUNNING, started=self.now)

    def succeed(self, name: str) -> None:
        spec = self.specs[name]
        result = Result(
            image=f"registry/image@sha256:{spec.key}" if spec.build else None, url=spec.output
        )
        self.runs[name] = replace(
            self.runs[name], phase=RunPhase.SUCCEEDED, finished=self.now, attempts=1, result=result
        )

    def fail(self, name: str, kind: FailureClass = FailureClass.COMMAND) -> None:
        self.runs[name] = replace(
            self.runs[name],
            phase=RunPhase.FAILED,
            finished=self.now,
            attempts=1,
            failure=kind,
            reason=Reason.read("CommandFailed", "the command exited with 1"),
        )

    def live(self) -> list[str]:
        return [run.name for run in self.runs.values() if run.live]

    def settle(self, end: Callable[[World, str], None] | None = None) -> Plan:
        """Sync and let everything that runs end, until nothing is left to do."""
        for _ in range(100):
            plan = self.sync()
            live = self.live()
            if not live and not plan.endings and not plan.creates():
                return plan
            for name in live:
                (end or World.succeed)(self, name)
            self.now += timedelta(seconds=1)
        raise AssertionError("the world does not settle")

    # -- what a test asks --------------------------------------------------------------------

    def phases(self) -> dict[str, Phase]:
        return {ref.name: record.phase for ref, record in self.records.items()}

    def phase(self, name: str) -> Phase:
        return self.phases()[name]

    def made(self) -> list[tuple[str, str]]:
        """The tasks of the runs created since the last call, with their objects' names."""
        made = [(s.object.name if s.object else "build", s.task.value) for s in self.created]
        self.created.clear()
        return sorted(made)

    def keys(self) -> Mapping[tuple[str, TaskKind], TaskKey | None]:
        desired, _, _, _ = self.desired()
        return {(ref.name, t.kind): t.key for ref, item in desired.items() for t in item.tasks}

    def run_of(self, name: str, task: TaskKind) -> str:
        found = [
            run.name
            for run in self.runs.values()
            if run.live and run.task is task and (run.object is None or run.object.name == name)
        ]
        assert len(found) == 1, f"{name} has {len(found)} live runs"
        return found[0]


def actions(plan: Plan) -> dict[tuple[str, str], ActionKind]:
    """The action of each object's task."""
    return {(d.ref.name, d.task.kind.value): d.action for d in plan.decisions}


SCRATCH = """\
kind: Model
metadata: {name: %s}
spec:
  source: {git: {url: ., path: src/%s}}
  training: {mode: Scratch, params: {epochs: 3}%s}
"""

FINETUNE = """\
kind: Model
metadata: {name: %s}
spec:
  source: {model: {name: %s}}
  training: {params: {epochs: 3}%s}
"""


def scratch(name: str, more: str = "") -> str:
    """A Model with a build and a training."""
    return SCRATCH % (name, name, more)


def finetune(name: str, base: str, more: str = "") -> str:
    """A Model that is trained from a base, without a build."""
    return FINETUNE % (name, base, more)
