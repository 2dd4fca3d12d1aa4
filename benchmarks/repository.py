"""A manifest repository of any size, with a status branch that says everything is Ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pygit2

from reconciler.engine import Capacity, Result
from reconciler.git import LocalRepository
from reconciler.planner.ledger import Ledger
from reconciler.planner.names import status_path
from reconciler.planner.plan import Plan
from reconciler.planner.planner_config import PlannerConfig
from reconciler.planner.run_spec import wanted_results
from reconciler.planner.status_update import update_status
from reconciler.status.encoding import dump_record
from reconciler.types import Commit, Kind
from reconciler.workspace import CommitPlanner, CommitReader, PlanState, SourceResolver
from tests.e2e.site import git

BUCKET = "file:///buckets"
STATUS_REF = "refs/heads/reconciler/status/local"
AUTHOR = pygit2.Signature("Benchmark", "benchmark@localhost", 0, 0)

BASE = """\
# A base that is trained from scratch.
kind: Model
metadata: {{name: {name}, labels: {{team: research}}}}
spec:
  source:
    git: {{url: ., path: src/{folder}}}
  training:
    mode: Scratch
    params: {{epochs: {epochs}, learning-rate: 0.001}}
    resources: {{cpu: 4, memory: 16Gi, gpu: {{type: nvidia-l4, count: 1}}}}
    timeout: 12h
"""
FINETUNE = """\
# A finetune of a base.
kind: Model
metadata: {{name: {name}, labels: {{team: research}}}}
spec:
  source:
    model: {{name: {base}}}
  training:
    params: {{epochs: {epochs}, learning-rate: 0.0001}}
    resources: {{cpu: 4, memory: 16Gi, gpu: {{type: nvidia-l4, count: 1}}}}
    timeout: 6h
"""


def manifest(number: int, *, epochs: int = 3) -> str:
    """One in ten is a base, which the next nine are trained from."""
    if number % 10 == 0:
        return BASE.format(name=f"base-{number}", folder=number % 7, epochs=epochs)
    base = f"base-{number - number % 10}"
    return FINETUNE.format(name=f"model-{number}", base=base, epochs=epochs)


def dependent(number: int, *, epochs: int = 3) -> str:
    """The first is a base, which all others are trained from."""
    if number == 0:
        return manifest(number, epochs=epochs)
    return FINETUNE.format(name=f"model-{number}", base="base-0", epochs=epochs)


def make(
    folder: Path,
    count: int,
    *,
    manifest: Callable[..., str] = manifest,
    changed: int = 1,
) -> tuple[Commit, Commit]:
    """A work tree and two commits of ``count`` manifests, of which the second changes one."""
    (folder / "models").mkdir(parents=True)
    for number in range(count):
        (folder / "models" / f"{number}.yaml").write_text(manifest(number))
    for number in range(7):
        (folder / "src" / str(number)).mkdir(parents=True)
        (folder / "src" / str(number) / "train.sh").write_text(f"#!/bin/sh\necho {number}\n")
    repository = pygit2.init_repository(folder, initial_head="main")
    first = _commit(repository, "All of them")
    (folder / "models" / f"{changed}.yaml").write_text(manifest(changed, epochs=4))
    second = _commit(repository, "One of them")
    _record_all(repository, folder, first)
    return first, second


def push_by_hand(clone: Path, files: Mapping[str, bytes]) -> None:
    """Commit files into one folder, and push that with git."""
    held = pygit2.Repository(str(clone))
    tree = held.TreeBuilder()
    for name, data in files.items():
        tree.insert(name, held.create_blob(data), pygit2.GIT_FILEMODE_BLOB)
    made = held.create_commit(None, AUTHOR, AUTHOR, "By hand", tree.write(), [])
    git(clone, "push", "--quiet", "--force", "origin", f"{made}:refs/heads/by-hand")


def _commit(repository: pygit2.Repository, message: str) -> Commit:
    repository.index.add_all()
    repository.index.write()
    parents = [] if repository.head_is_unborn else [repository.head.target]
    tree = repository.index.write_tree()
    oid = repository.create_commit("HEAD", AUTHOR, AUTHOR, message, tree, parents)
    return Commit(str(oid))


def _record_all(repository: pygit2.Repository, folder: Path, commit: Commit) -> None:
    """Write the status branch as it is when every run of a commit has succeeded."""
    clone = LocalRepository.open(folder)
    planner = CommitPlanner(
        CommitReader(clone, path="", namespace="default", clusters=()),
        settings=PlannerConfig(buckets={Kind.MODEL: BUCKET, Kind.DATASET: BUCKET}),
        sources=SourceResolver(clone, folder.as_uri(), ("*",), recorded=True),
    )
    resolved = planner.resolve(planner.read(commit), {})
    ledger = Ledger()

    def plan() -> Plan:
        state = PlanState(
            records={},
            ledger=ledger,
            runs={},
            capacity=Capacity(containers=True),
            now=datetime(2026, 1, 1, tzinfo=UTC),
        )
        return planner.plan(resolved, state).plan

    for wanted in wanted_results(plan().inputs):
        image = None if wanted.url else f"registry/image@sha256:{wanted.key:0<64}"
        ledger.complete(wanted.key, wanted.task, Result(image=image, url=wanted.url))
    records = update_status(plan(), changed={}, places={})
    builder = repository.TreeBuilder()
    for ref, record in records.items():
        name = status_path(ref).rpartition("/")[2]
        builder.insert(name, repository.create_blob(dump_record(record)), pygit2.GIT_FILEMODE_BLOB)
    tree = builder.write()
    for part in ("models", "default"):
        outer = repository.TreeBuilder()
        outer.insert(part, tree, pygit2.GIT_FILEMODE_TREE)
        tree = outer.write()
    repository.create_commit(STATUS_REF, AUTHOR, AUTHOR, "Status", tree, [])
