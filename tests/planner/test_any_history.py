"""Whatever happens, in whatever order: the properties that every plan keeps."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.engine import FailureClass, RunPhase
from reconciler.planner.ledger import Ledger
from reconciler.planner.phases import Phase
from reconciler.planner.plan import ActionKind
from reconciler.types import TaskKind
from tests.planner.histories import settled
from tests.planner.world import World, finetune, scratch
from tests.specs import run_spec

BUILD = TaskKind.BUILD
NAMES = ["a", "b", "c"]
BASES = {"b": "a", "c": "b"}


class AnyHistory(RuleBasedStateMachine):
    """Edits, syncs, ends of runs, and daemons that forget everything but the records."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World({"keep.yaml": scratch("keep")})
        self.completed: set[str] = set()

    def manifest(self, name: str, epochs: int) -> str:
        text = finetune(name, BASES[name]) if name in BASES else scratch(name)
        return text.replace("epochs: 3", f"epochs: {epochs}")

    @rule(name=st.sampled_from(NAMES), epochs=st.integers(0, 2))
    def edit(self, name: str, epochs: int) -> None:
        self.world.files[f"{name}.yaml"] = self.manifest(name, epochs)

    @rule(name=st.sampled_from(NAMES))
    def break_manifest(self, name: str) -> None:
        self.world.files[f"{name}.yaml"] = scratch(name, ", timeout: soon")

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.world.files.pop(f"{name}.yaml", None)

    @rule(name=st.sampled_from(NAMES))
    def change_source(self, name: str) -> None:
        place = f".//src/{name}"
        self.world.trees[place] = f"{self.world.trees.get(place, '')}+"[-4:]

    @rule(name=st.sampled_from(NAMES))
    def cut_source(self, name: str) -> None:
        self.world.trees[f".//src/{name}"] = "unreachable"

    @rule()
    def lose_an_image(self) -> None:
        """The registry has it no more, which a creation that is refused for it says."""
        built = (done for done in self.world.ledger.completed.values() if done.task is BUILD)
        for key in sorted(done.key for done in built)[:1]:
            self.world.ledger.lose(key, self.world.now)
            self.world.now += timedelta(seconds=1)
            self.completed.discard(key)

    @rule()
    def settle(self) -> None:
        for _ in range(4):
            self.sync()
            for name in self.world.live():
                self.world.succeed(name)
                self.completed.add(self.world.runs[name].key)

    @rule()
    def plan_without_applying(self) -> None:
        self.world.plan()

    @rule()
    def fail_to_plan(self) -> None:
        with suppress(ZeroDivisionError), self.world.cache:
            1 / 0  # noqa: B018

    @rule()
    def sync(self) -> None:
        before = len(self.world.created)
        self.world.sync()
        for spec in self.world.created[before:]:
            assert spec.key not in self.completed, "a completed key runs again"

    @rule(good=st.booleans())
    def end_a_run(self, good: bool) -> None:
        for name in self.world.live()[:1]:
            if good:
                self.world.succeed(name)
                self.completed.add(self.world.runs[name].key)
            else:
                self.world.fail(name, FailureClass.INFRASTRUCTURE)

    @rule()
    def start_runs(self) -> None:
        for name in self.world.live():
            self.world.start(name)

    @rule()
    def forget(self) -> None:
        """A new daemon: it has the records, and the engine's runs."""
        for run in self.world.runs.values():
            self.world.ledger.learn_run(run)
        self.world.sync()
        self.world.ledger = Ledger()
        for record in self.world.records.values():
            self.world.ledger.learn_record(record)

    @invariant()
    def no_key_has_two_live_runs(self) -> None:
        keys = [self.world.runs[name].key for name in self.world.live()]
        assert len(keys) == len(set(keys))

    def teardown(self) -> None:
        """Left alone it becomes still, with everything Ready that can be."""
        world = self.world
        for name in NAMES:
            world.trees.pop(f".//src/{name}", None)
            if "soon" in world.files.get(f"{name}.yaml", ""):
                self.edit(name, 0)
        for _ in range(60):
            plan = world.sync()
            if plan.retry_at is not None:
                world.now = max(world.now, plan.retry_at)
            live = world.live()
            if not live and not plan.endings and not plan.retry_at:
                break
            for name in live:
                world.succeed(name)
        plan = world.plan()
        assert not plan.endings
        assert not plan.creates()
        there = {name for name in NAMES if f"{name}.yaml" in world.files}
        for name in there:
            assert world.phase(name) is _expected(name, there)


def _expected(name: str, there: set[str]) -> Phase:
    """Ready if all its bases are there; Invalid if its own is not, Waiting if one of theirs."""
    base = BASES.get(name)
    if base is None:
        return Phase.READY
    if base not in there:
        return Phase.INVALID
    return Phase.READY if _expected(base, there) is Phase.READY else Phase.WAITING


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_no_action_touches_what_this_instance_does_not_own() -> None:
    """An engine shows only runs of this instance; of those, what is finished and known stays."""
    world = settled(a=scratch("a"))
    other = replace(run_spec("build", TaskKind.BUILD).pending(), phase=RunPhase.SUCCEEDED)
    world.runs[other.name] = other
    assert other.name not in {e.run.name for e in world.plan().endings}
    world.runs[other.name] = replace(other, phase=RunPhase.RUNNING)
    (ending,) = world.plan().endings
    assert ending.action is ActionKind.CANCEL
