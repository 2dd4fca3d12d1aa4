"""The example repository, synced by the real planner with runs that only say that they succeed.

What ``plan`` reads is Git alone: manifests, and a status branch. Here both are real, and only the
minutes of training in between are left out. Authors and dates are fixed, so commits are too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.engine import Capacity, FailureClass, Result, Run, RunPhase, RunSpec
from reconciler.git.local_repository import LocalRepository
from reconciler.planner.ledger import Ledger
from reconciler.planner.names import removed_path, status_path
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.plan import Plan
from reconciler.planner.planner_config import PlannerConfig
from reconciler.planner.status_update import update_status
from reconciler.reasons import Reason
from reconciler.status.encoding import SYNC_FILE, Sync, dump_record, dump_sync
from reconciler.types import Commit, Kind, ObjectRef, TaskKind
from reconciler.workspace import CommitPlanner, CommitReader, PlanState, SourceResolver
from tests.e2e.site import environment
from tests.examples.manifests import EXAMPLES

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BRANCH = "reconciler/status/local"
_TOOK = {
    TaskKind.BUILD: timedelta(seconds=40),
    TaskKind.LOAD: timedelta(seconds=12),
    TaskKind.TRAIN: timedelta(minutes=3, seconds=5),
    TaskKind.EVALUATE: timedelta(seconds=30),
}
_FIXED = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "2026-03-02T08:00:00Z",
    "GIT_COMMITTER_DATE": "2026-03-02T08:00:00Z",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@dataclass
class Example:
    """A repository in ``root`` with what the examples hold; nothing is synced yet."""

    root: Path
    bucket: str = "file:///srv/models"
    now: datetime = START
    settings: PlannerConfig = field(default_factory=PlannerConfig)
    records: dict[ObjectRef, ObjectStatus] = field(default_factory=dict)
    removed: dict[ObjectRef, ObjectStatus] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    runs: dict[str, Run] = field(default_factory=dict)
    specs: dict[str, RunSpec] = field(default_factory=dict)
    recorded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.settings = replace(self.settings, buckets=dict.fromkeys(Kind, self.bucket))
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in ("datasets", "models", "sources"):
            shutil.copytree(EXAMPLES / folder, self.root / folder)
        shutil.copy(EXAMPLES / ".reconcilerignore", self.root)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Start from the examples")

    def git(self, *arguments: str, data: bytes | None = None) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            env={**environment(), **_FIXED},
            input=data,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text, f"{old!r} is not in {path}"
        (self.root / path).write_text(text.replace(old, new, 1))

    def commit(self, message: str) -> Commit:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return Commit(self.git("rev-parse", "HEAD"))

    # -- syncing -----------------------------------------------------------------------------

    def sync(self, *, running: tuple[str, ...] = (), failing: tuple[str, ...] = ()) -> None:
        """Sync HEAD until nothing is left to do, and write the status branch.

        Trainings of the objects in ``running`` are started and go on; those in ``failing`` fail.
        """
        for _ in range(50):
            plan = self._step()
            live = [run for run in self.runs.values() if run.live]
            if not plan.creates() and not plan.endings:
                stuck = {run.name for run in live} == {
                    run.name for run in live if run.object and run.object.name in running
                }
                if stuck:
                    break
            for run in live:
                self._run(run, running, failing)
            self.now += timedelta(minutes=5)
        else:
            raise AssertionError("the example does not settle")
        self._write()

    def _run(self, run: Run, running: tuple[str, ...], failing: tuple[str, ...]) -> None:
        name = run.object.name if run.object is not None else ""
        training = run.task is TaskKind.TRAIN
        started = run.started or self.now
        if training and name in running:
            self.runs[run.name] = replace(
                run, phase=RunPhase.RUNNING, started=started, attempts=1, log=self._log(run)
            )
            return
        ended = replace(
            run, started=started, finished=started + _TOOK[run.task], attempts=1, log=self._log(run)
        )
        if training and name in failing:
            self.runs[run.name] = replace(
                ended,
                phase=RunPhase.FAILED,
                failure=FailureClass.COMMAND,
                reason=Reason.read("CommandFailed", "train.sh exited with 1: out of memory"),
            )
            return
        spec = self.specs[run.name]
        result = Result(
            image=f"local@sha256:{spec.key}" if spec.build else None,
            url=spec.output,
            metrics={"accuracy": 0.97} if training or run.task is TaskKind.EVALUATE else {},
        )
        self.runs[run.name] = replace(ended, phase=RunPhase.SUCCEEDED, result=result)

    def _log(self, run: Run) -> str:
        output = self.specs[run.name].output or f"{self.bucket}/builds/{run.key}/"
        return f"{output}logs/attempt-1.log"

    def _step(self) -> Plan:
        repository = LocalRepository.open(self.root)
        planner = CommitPlanner(
            CommitReader(repository, path="", namespace="default", clusters=None),
            settings=self.settings,
            sources=SourceResolver(repository, "file:///", (), recorded=True),
        )
        head = planner.read(repository.resolve("HEAD"))
        for run in self.runs.values():
            self.ledger.learn_run(run)
        state = PlanState(
            records=self.records,
            ledger=self.ledger,
            runs=self.runs,
            capacity=Capacity(containers=True),
            now=self.now,
            recorded=self.recorded,
        )
        resolved = planner.resolve(head, self.records)
        plan = planner.plan(resolved, state).plan
        for ending in plan.endings:
            del self.runs[ending.run.name]
        for spec in plan.creates():
            self.specs[spec.name] = spec
            self.runs[spec.name] = replace(spec.pending(), created=self.now)
        paths = {m.file for m in resolved.objects.manifests.values()}
        changed = repository.last_changed(head.commit, paths)
        self.records |= update_status(plan, changed=changed, places={})
        self.recorded = frozenset(name for name, run in self.runs.items() if not run.live)
        for record in self.records.values():
            self.ledger.learn_image_keys(record)
        for ref in plan.removed:
            self.removed[ref] = self.records.pop(ref)
        return plan

    def _write(self) -> None:
        """The status branch, as one commit without a parent."""
        files = {status_path(ref): record for ref, record in self.records.items()}
        files |= {removed_path(ref): record for ref, record in self.removed.items()}
        head = Commit(self.git("rev-parse", "HEAD"))
        sync = Sync(
            cluster="local",
            instance="default",
            path="",
            head=head,
            observed=self.now,
            currency=self.settings.prices.currency,
        )
        data = {path: dump_record(record) for path, record in files.items()}
        data |= {SYNC_FILE: dump_sync(sync)}
        lines = []
        for path, text in data.items():
            blob = self.git("hash-object", "-w", "--stdin", data=text)
            lines.append(f"100644 {blob}\t{path}\n")
        index = {"GIT_INDEX_FILE": str(self.root / ".git" / "status-index")}
        _FIXED.update(index)
        try:
            self.git("read-tree", "--empty")
            listed = "".join(lines).encode()
            self.git("update-index", "--add", "--index-info", data=listed)
            tree = self.git("write-tree")
        finally:
            del _FIXED["GIT_INDEX_FILE"]
        commit = self.git("commit-tree", "-m", "Status", tree)
        self.git("update-ref", f"refs/heads/{BRANCH}", commit)
