"""Whatever is pushed, in whatever order: a plan with the cache is the one without it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from reconciler.engine import Capacity, Result, Run, RunPhase, RunSpec
from reconciler.git import LocalRepository
from reconciler.manifests import Manifest
from reconciler.planner import (
    Ledger,
    ObjectStatus,
    Phase,
    PlanCache,
    PlannerConfig,
    RemoteStatus,
    status_path,
    update_status,
)
from reconciler.planner.planner_config import RemoteCluster
from reconciler.status import SYNC_FILE, Sync, dump_record, dump_sync
from reconciler.types import (
    Commit,
    GitSource,
    Kind,
    ObjectRef,
    ResolvedSource,
    TreeId,
)
from reconciler.workspace import (
    CommitPlanner,
    CommitReader,
    GitResolutions,
    PlannedCommit,
    PlanState,
    RemoteStatusReader,
    SourceResolver,
)
from tests.git.history import History
from tests.git.remotes import make_bare
from tests.planner.world import BUCKET, START, finetune, model, scratch

NAMES = st.sampled_from(["a", "b", "c"])
OTHER = "reconciler/status/other"
REMOTE = "{{git: {{url: 'https://git.test/r', path: {}}}}}"
FOREIGN = "{model: {name: base, cluster: other}}"
SOURCES = ["folder", FOREIGN, REMOTE.format("x"), REMOTE.format("y"), "base"]
SETTINGS = PlannerConfig(
    buckets={Kind.MODEL: BUCKET, Kind.DATASET: BUCKET},
    clusters={"other": RemoteCluster(registries=("*",), buckets=("*",))},
)


def text(name: str, source: str, epochs: object) -> str:
    """A Model with its source: a folder, another repository, a Model here, or one elsewhere."""
    if source == "base":
        found = finetune(name, "a" if name != "a" else "b")
    else:
        found = scratch(name)
        if source != "folder":
            found = found.replace(f"{{git: {{url: ., path: src/{name}}}}}", source)
        if source == FOREIGN:
            found = found.replace("mode: Scratch, ", "")
    return found.replace("epochs: 3", f"epochs: {epochs}")


class AnyCommits(RuleBasedStateMachine):
    """Pushes to a repository, its sources and another cluster; syncs, and plans thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.history = History(make_bare(Path(self._folder.name)))
        self.repository = LocalRepository.open(self.history.path)
        self.files = {f"src/{name}/train.sh": "true" for name in "abc"}
        for name, source in zip("abc", SOURCES, strict=False):
            self.files[f"{name}.yaml"] = text(name, source, 1)
        self.tips: dict[str, str] = {}
        self.remote = RemoteStatusReader(self.repository, {"other": OTHER})
        self.planner = self.new_planner()
        self.ledger = Ledger()
        self.records: dict[ObjectRef, ObjectStatus] = {}
        self.runs: dict[str, Run] = {}
        self.specs: dict[str, RunSpec] = {}
        self.broken = False

    def new_planner(self) -> CommitPlanner:
        return CommitPlanner(
            CommitReader(self.repository, path="", namespace="default", clusters={"other"}),
            settings=SETTINGS,
            sources=SourceResolver(
                self.repository, "https://git.test/m", ("*",), remote=self.resolve
            ),
            remote=self.read_clusters,
        )

    def resolve(self, sources: AbstractSet[GitSource], _: AbstractSet[str]) -> GitResolutions:
        """Each source as its remote has it; its folder stays the same with every other commit."""
        found = {}
        for source in sources:
            commits = int(self.tips.get(source.path, "0"))
            commit, tree = (
                hashlib.sha1(f"{source.path} {number}".encode(), usedforsecurity=False).hexdigest()
                for number in (commits, commits // 2)
            )
            found[source] = ResolvedSource(Commit(commit), TreeId(tree))
        return found

    def read_clusters(
        self, manifests: Mapping[ObjectRef, Manifest], cache: PlanCache
    ) -> RemoteStatus:
        if self.broken:
            raise ZeroDivisionError
        return self.remote.read(manifests, cache)

    # -- what is pushed ----------------------------------------------------------------------

    @rule(
        name=NAMES,
        source=st.sampled_from(SOURCES),
        epochs=st.sampled_from([1, 2, "true", "1.0"]),
    )
    def edit(self, name: str, source: str, epochs: object) -> None:
        self.files[f"{name}.yaml"] = text(name, source, epochs)

    @rule(name=NAMES, wrong=st.sampled_from(["epochs: [", "kind: Modle", "{timeout: soon}"]))
    def break_manifest(self, name: str, wrong: str) -> None:
        self.files[f"{name}.yaml"] = f"{wrong}\n{scratch(name, ', timeout: soon')}"

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.files.pop(f"{name}.yaml", None)

    @rule(name=NAMES)
    def comment(self, name: str) -> None:
        """The places of its fields are others, and its content is the same."""
        if f"{name}.yaml" in self.files:
            self.files[f"{name}.yaml"] = f"# A line\n{self.files[f'{name}.yaml']}"

    @rule(name=NAMES, more=st.sampled_from(["x", "y"]))
    def change_folder(self, name: str, more: str) -> None:
        self.files[f"src/{name}/train.sh"] = more

    @rule(ignored=st.sampled_from(["", "a.yaml", "b.yaml\nsrc\n"]))
    def ignore(self, ignored: str) -> None:
        self.files[".reconcilerignore"] = ignored

    @rule(path=st.sampled_from(["x", "y"]))
    def push_to_source(self, path: str) -> None:
        self.tips[path] = str(int(self.tips.get(path, "0")) + 1)

    @rule(phase=st.sampled_from([Phase.READY, Phase.TRAINING]))
    def push_other_cluster(self, phase: Phase) -> None:
        ref = model("base")
        sync = Sync(cluster="other", instance="i", path="", head=Commit("a" * 40), observed=START)
        files = {
            SYNC_FILE: dump_sync(sync),
            status_path(ref): dump_record(ObjectStatus(ref=ref, phase=phase)),
        }
        self.remote.update({OTHER: self.history.commit(files, branch=OTHER)})

    # -- what a daemon does ------------------------------------------------------------------

    @rule()
    def plan_without_applying(self) -> None:
        self._plan()

    def _plan(self) -> PlannedCommit:
        commit = self.history.commit(self.files)
        for run in self.runs.values():
            self.ledger.learn_run(run)
        state = PlanState(
            records=self.records,
            ledger=self.ledger,
            runs=dict(self.runs),
            capacity=Capacity(containers=True),
            now=datetime(2026, 1, 2, tzinfo=UTC),
            recorded=frozenset(self.runs),
        )
        found = []
        for planner in (self.planner, self.new_planner()):
            resolved = planner.resolve(planner.read(commit), self.records)
            found.append(planner.plan(resolved, state))
        cached, anew = found
        assert cached.resolved == anew.resolved
        assert _places(cached) == _places(anew)
        assert list(cached.plan.decisions) == list(anew.plan.decisions)
        assert cached.plan.creates() == anew.plan.creates()
        for part in ("endings", "removed", "kept", "holds", "released", "retry_at"):
            assert getattr(cached.plan, part) == getattr(anew.plan, part)
        assert self._updated(cached) == self._updated(anew)
        return cached

    def _updated(self, planned: PlannedCommit) -> Mapping[ObjectRef, ObjectStatus]:
        problems = planned.resolved.objects.problems
        places = {ref: problem.location for ref, problem in problems.items()}
        return self.records | update_status(planned.plan, changed={}, places=places)

    @rule()
    def sync(self) -> None:
        planned = self._plan()
        plan = planned.plan
        for ending in plan.endings:
            del self.runs[ending.run.name]
        for spec in plan.creates():
            self.specs[spec.name] = spec
            self.runs[spec.name] = replace(spec.pending(), created=START)
        for ref, record in self._updated(planned).items():
            if record != self.records.get(ref):
                self.records[ref] = record
                self.ledger.learn_image_keys(record)
        self.planner.applied(plan)
        for ref in plan.removed:
            self.records.pop(ref, None)

    @rule()
    def finish_runs(self) -> None:
        for name, run in self.runs.items():
            if run.live:
                spec = self.specs[name]
                image = f"registry/image@sha256:{spec.key}" if spec.build else None
                self.runs[name] = replace(
                    run,
                    phase=RunPhase.SUCCEEDED,
                    finished=START,
                    attempts=1,
                    result=Result(image=image, url=spec.output),
                )

    @rule()
    def settle(self) -> None:
        for _ in range(4):
            self.sync()
            self.finish_runs()
        self.sync()

    @precondition(lambda self: self.records)
    @rule()
    def fail_to_plan(self) -> None:
        """An error in the middle, by which the cache is dropped."""
        self.broken = True
        try:
            self._plan()
        except ZeroDivisionError:
            pass
        else:
            raise AssertionError("the error was lost")
        finally:
            self.broken = False

    def teardown(self) -> None:
        self.settle()
        self._folder.cleanup()


def _places(planned: PlannedCommit) -> Mapping[ObjectRef, object]:
    """Where the manifests are, which their equality does not tell."""
    manifests = planned.resolved.objects.manifests
    return {ref: manifest.locate(("metadata", "name")) for ref, manifest in manifests.items()}


TestAnyCommits = AnyCommits.TestCase
TestAnyCommits.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
