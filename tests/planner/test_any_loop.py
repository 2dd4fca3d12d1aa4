"""Whatever happens, in whatever order, killed at any step: what the whole loop keeps.

1. No dependent of a rejected artifact runs.
2. No artifact that anything reaches is hidden or removed.
3. An undo within the grace time works: the artifact is there, and nothing makes it again.
4. No budget is passed by more than what ran already when it was reached.

100 histories; LOOP_HISTORIES says another number, and LOOP_SEED which.
"""

from __future__ import annotations

import inspect
import os
import secrets
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import FunctionType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from reconciler.engine import FailureClass, RunSpec
from reconciler.planner import Plan, RetentionPolicy, retention, unchanged
from reconciler.planner.cost_holds import CostHolds
from reconciler.planner.plan import HoldKind
from reconciler.planner.prices import Prices
from reconciler.planner.status_history import HistoryUpdate
from reconciler.planner.wanted_tasks import WantedTasks
from reconciler.types import Metrics, TaskKey, TaskKind
from tests.planner import loop_world
from tests.planner.loop_world import LoopWorld
from tests.planner.world import finetune, model, scratch

HISTORIES = int(os.environ.get("LOOP_HISTORIES", "100"))
SEED = int(os.environ.get("LOOP_SEED", "0" if os.environ.get("CI") else secrets.randbelow(2**32)))
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
GPU = ", resources: {gpu: {type: l4, count: 1}}"
#: A threshold by the text of its line.
LINES = {"accuracy >= 0.1": 0.1, "accuracy >= 0.4": 0.4, "accuracy >= 0.7": 0.7}
BASE = """\
kind: Model
metadata: {name: base%s}
spec:
  source: {git: {url: ., path: src/base}}
  training: {mode: Scratch, params: {epochs: %d}, resources: {gpu: {type: l4, count: 1}}}
  evaluation: {command: [evaluate.sh], params: {version: %d}, require: ["%s"]}
"""
PRODUCTION = """\
kind: Model
metadata: {name: production}
spec: {source: {model: {name: base%s}}, load: {command: []}}
"""
OTHERS = ("tuned", "second", "other")


@dataclass
class Loop(LoopWorld):
    """A gated base, what is made of it, its promotion, and a Model beside them.

    ``let_through`` has the keys of the base that a line or an annotation has ever let through,
    ``undone`` those that a user took back and nothing has hidden since. ``asked`` is what the
    manifests of the last sync ask for and name.
    """

    epochs: dict[str, int] = field(default_factory=dict)
    require: str = "accuracy >= 0.4"
    test: int = 0
    accepted: str = ""
    pinned: TaskKey | None = None
    gone: set[str] = field(default_factory=set)
    measured: dict[TaskKey, float] = field(default_factory=dict)
    trained: set[TaskKey] = field(default_factory=set)
    let_through: set[TaskKey] = field(default_factory=set)
    undone: set[TaskKey] = field(default_factory=set)
    asked: set[TaskKey | None] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def write(self) -> None:
        accept = f', annotations: {{substratus.ai/accept: "{self.accepted}"}}'
        epochs = self.epochs.get("base", 0)
        told = (accept if self.accepted else "", epochs, self.test, self.require)
        texts = {
            "base": BASE % told,
            "tuned": finetune("tuned", "base", GPU),
            "second": finetune("second", "tuned", GPU),
            "other": scratch("other", GPU),
            "production": PRODUCTION % (f", key: '{self.pinned}'" if self.pinned else ""),
        }
        for name in OTHERS:
            texts[name] = texts[name].replace("epochs: 3", f"epochs: {self.epochs.get(name, 0)}")
        self.files = {name: text for name, text in texts.items() if name not in self.gone}

    # -- what must hold ------------------------------------------------------------------------

    def look(self, plan: Plan) -> None:
        """Let through what the manifest of now does, and note what all of them ask for."""
        desired = plan.inputs.desired
        self.asked = {task.key for item in desired.values() for task in item.tasks} | {self.pinned}
        tasks = {task.kind: task.key for task in desired[model("base")].tasks}
        key, evaluation = tasks[TaskKind.TRAIN], tasks[TaskKind.EVALUATE]
        assert key is not None
        measured = self.measured.get(evaluation) if evaluation is not None else None
        passed = measured is not None and measured >= LINES[self.require]
        if passed or (self.accepted and key.startswith(self.accepted)):
            self.let_through.add(key)

    def check_creation(self, spec: RunSpec) -> None:
        rejected = self.trained - self.let_through
        if spec.task is not TaskKind.EVALUATE:
            assert not rejected & set(self.read_by(spec)), "it runs on a rejected artifact"
        assert spec.key not in self.undone, "what a user took back is made again"
        self.check_budget()
        self.seen.add(spec.task.value)

    def check_budget(self) -> None:
        limit = self.settings.budget_month
        known = self.spent.get(self.month, 0.0)
        running = sum(self.cost(name) for name in self.working())
        if limit and known + running >= limit + 1e-4:
            raise AssertionError("it starts although the budget is spent")

    def hide(self, key: TaskKey) -> None:
        assert key not in self.reachable(self.asked), "what is reached is hidden"
        self.undone.discard(key)
        self.seen.add("hidden")
        super().hide(key)

    def remove(self, key: TaskKey) -> None:
        assert key not in self.reachable(self.asked), "what is reached is removed"
        hidden = self.bucket[key].hidden
        assert hidden is not None, "what is not hidden is removed"
        assert self.now - hidden >= self.policy.grace, "it is removed within the grace time"
        self.seen.add("removed")
        super().remove(key)

    # -- what happens --------------------------------------------------------------------------

    def sync(self, stop: int) -> None:  # type: ignore[override]
        whole = self.sync_until(stop)
        if whole and self.last is not None:
            held = any(hold.kind is HoldKind.BUDGET for hold in self.last.holds)
            self.seen |= {"budget"} if held else set()
        spent = [
            *(each.spent for each in self.records.values()),
            *self.ledger.removed_spent.values(),
        ]
        counted = sum(each.get(self.month, 0.0) for each in spent)
        assert counted <= self.spent.get(self.month, 0.0) + 1e-2, "a cost is counted twice"
        # A run that is being deleted may be counted once it is gone.
        if whole and self.working() == self.live():
            least = self.spent.get(self.month, 0.0) - self.unsure.get(self.month, 0.0)
            assert counted >= least - 1e-2, "a cost is forgotten"
        for record in self.records.values():
            served = record.artifact.key if record.artifact is not None else None
            assert served not in self.trained - self.let_through, "a rejected artifact is served"

    def refuse(self, refuses: bool) -> None:
        self.refuses = refuses

    def slow_down(self, slow: bool) -> None:
        self.slow = slow

    def train(self, name: str, epochs: int) -> None:
        self.epochs[name] = epochs
        self.accepted = "" if name == "base" else self.accepted

    def demand(self, line: str) -> None:
        self.require = line

    def test_otherwise(self, number: int) -> None:
        self.test = number

    def accept(self) -> None:
        self.accepted = (self.keys()["base", TaskKind.TRAIN] or "")[:12]

    def drop(self, name: str) -> None:
        self.gone.add(name)

    def wait(self, time: timedelta) -> None:
        self.now += time

    def work(self, hours: int, accuracy: float) -> None:
        """Let everything run that can, for so long."""
        for _ in range(3):
            self.sync(99)
            self.start_all()
            self.now += hours * HOUR
            self.end_all(accuracy)
        self.sync(99)

    def age(self, epochs: int, time: timedelta) -> None:
        """Make something else of the base, some time pass, and collect."""
        self.train("base", epochs)
        self.write()
        self.work(1, 0.8)
        self.now += time
        self.collect_until(99)

    def supersede(self, name: str, epochs: int, stop: int, slow: bool) -> None:
        """Make something else of an object while its run goes on; the daemon may be killed.

        The next one sees the run while it is still being deleted, if the engine is ``slow``.
        """
        self.sync(99)
        self.start_all()
        self.now += HOUR
        self.train(name, epochs)
        self.write()
        before, self.slow = self.slow, slow
        self.sync(stop)
        self.sync(99)
        self.slow = before
        self.vanish()
        self.sync(99)

    def start_all(self) -> None:
        for name in self.working():
            if self.runs[name].started is None:
                self.start(name)

    def end_all(self, accuracy: float) -> None:
        self.vanish()
        for name in self.live():
            self.succeed(name)
            spec, run = self.specs[name], self.runs[name]
            if spec.task is TaskKind.TRAIN and spec.object == model("base"):
                self.trained.add(spec.key)
            if spec.task is TaskKind.EVALUATE and run.result is not None:
                self.measured[spec.key] = accuracy
                metrics: Metrics = {"accuracy": accuracy}
                self.runs[name] = replace(run, result=replace(run.result, metrics=metrics))

    def fail_one(self, number: int, kind: FailureClass) -> None:
        live = self.working()
        if live:
            name = live[number % len(live)]
            self.pay(name)
            self.fail(name, kind)

    def pin(self, number: int) -> None:
        keys = sorted(key for key in self.trained & self.let_through if key in self.bucket)
        self.pinned = keys[number % len(keys)] if keys and number else None

    def undo(self, number: int) -> None:
        """A user moves a marker back, within the grace time."""
        hidden = {k: a.hidden for k, a in self.bucket.items() if a.hidden is not None}
        known = self.ledger.hidden
        for key, at in known.items():
            if self.now - at < self.policy.grace:
                assert key in self.bucket, "an undo finds nothing"
        if hidden:
            key = sorted(hidden)[number % len(hidden)]
            self.bucket[key].hidden = None
            self.undone.add(key)
            self.seen.add("undone")

    def release(self) -> None:
        """Release what a collection holds."""
        inputs = self.retention()
        if inputs is not None:
            holds = retention.plan_retention(inputs).holds
            self.released |= {hold.id for hold in holds}


NUMBERS = st.integers(0, 40)
STOPS = st.sampled_from([99, 99, 99, 0, 1, 2])
STEP = st.one_of(
    st.tuples(st.just("train"), st.sampled_from(("base", *OTHERS)), st.integers(0, 2)),
    st.tuples(st.just("demand"), st.sampled_from(sorted(LINES))),
    st.tuples(st.just("test_otherwise"), st.integers(0, 1)),
    st.tuples(st.just("accept")),
    st.tuples(st.just("pin"), NUMBERS),
    st.tuples(st.just("drop"), st.sampled_from(["second", "other"])),
    st.tuples(st.just("sync"), STOPS),
    st.tuples(st.just("start_all")),
    st.tuples(st.just("end_all"), st.sampled_from([0.2, 0.5, 0.8])),
    st.tuples(
        st.just("fail_one"),
        NUMBERS,
        st.sampled_from([FailureClass.COMMAND, FailureClass.INFRASTRUCTURE]),
    ),
    st.tuples(st.just("wait"), st.sampled_from([HOUR, 5 * HOUR, DAY, 3 * DAY, 20 * DAY])),
    st.tuples(st.just("work"), st.integers(1, 8), st.sampled_from([0.2, 0.5, 0.8])),
    st.tuples(st.just("work"), st.integers(1, 8), st.sampled_from([0.5, 0.8])),
    st.tuples(st.just("collect_until"), STOPS),
    st.tuples(st.just("age"), st.integers(0, 2), st.sampled_from([HOUR, DAY, 3 * DAY, 10 * DAY])),
    st.tuples(
        st.just("supersede"),
        st.sampled_from(("base", *OTHERS)),
        st.integers(0, 2),
        STOPS,
        st.booleans(),
    ),
    st.tuples(st.just("undo"), NUMBERS),
    st.tuples(st.just("release")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("refuse"), st.booleans()),
    st.tuples(st.just("slow_down"), st.booleans()),
)
POLICIES = st.builds(
    RetentionPolicy,
    enabled=st.just(value=True),
    keep=st.integers(0, 2),
    days=st.sampled_from([0, 2]),
    grace=st.sampled_from([timedelta(0), DAY, 7 * DAY]),
    max_share=st.sampled_from([0.2, 1.0]),
)
BUDGETS = st.sampled_from([0.0, 3.0, 8.0])
STEPS = st.lists(STEP, min_size=12, max_size=40)


def told(policy: RetentionPolicy, budget: float, steps: list[tuple[Any, ...]]) -> Loop:
    """A world in which this has happened."""
    world = Loop(policy=policy)
    world.settings = replace(
        world.settings,
        prices=Prices(currency="EUR", gpus={"l4": 1.0, "any": 0.2}),
        budget_month=budget,
        prune_floor=10,
        guard_running_gpu_hours=0.0,
    )
    world.write()
    for name, *arguments in (("work", 1, 0.5), ("train", "base", 1), ("work", 1, 0.8), *steps):
        getattr(world, name)(*arguments)
        world.write()
    return world


def histories(
    count: int, check: Callable[..., object], *, shrunk: bool = True, number: int = SEED
) -> Callable[[], None]:
    """A search through this many histories; what it finds is made small, if ``shrunk``."""
    anything: Any = check
    given_check: Any = given(POLICIES, BUDGETS, STEPS)(anything)
    found: Callable[[], None] = seed(number)(
        settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink) if shrunk else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )(given_check)
    )
    return found


def test_what_the_whole_loop_keeps() -> None:
    print(f"LOOP_SEED={SEED} LOOP_HISTORIES={HISTORIES}")  # noqa: T201 -- to replay a failure
    seen: dict[str, int] = {}

    def check(policy: RetentionPolicy, budget: float, steps: list[tuple[Any, ...]]) -> None:
        for each in told(policy, budget, steps).seen:
            seen[each] = seen.get(each, 0) + 1

    histories(HISTORIES, check)()
    print(f"histories with: {dict(sorted(seen.items()))}")  # noqa: T201
    enough = {"train", "evaluate", "hidden", "budget"}
    enough |= {"removed", "undone"} if HISTORIES >= 1000 else set()
    assert enough <= seen.keys()


#: A guard of the product: where it is, its text, what stands there without it, and what is seen.
GUARDS = {
    "gate": (WantedTasks, "unaccepted", "if not judgement.accepted", "if False", "rejected"),
    "inputs": (retention, "_upstream", "in artifact.inputs]", "in ()]", "what is reached"),
    "grace": (
        loop_world,
        "plan_retention",
        "inputs.now - a.hidden < policy.grace",
        "False",
        "grace",
    ),
    "ending": (HistoryUpdate, "_gone", "for each in self.ending", "for each in ()", "cost|spent"),
    "deleting": (
        HistoryUpdate,
        "ending_runs",
        "run.deleting or",
        "not run.deleting and",
        "cost|spent",
    ),
    "unchanged": (unchanged, "_is_complete", "not record.ending", "True", "cost|spent"),
    "budget": (CostHolds, "_budget", "if spent + running < limit and", "if True or", "budget"),
}


#: The seed of histories in which the lack of each guard is soon seen.
GUARDS_SEED = 3


@pytest.mark.parametrize("guard", GUARDS)
def test_each_of_these_needs_its_guard(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, old, new, told_of = GUARDS[guard]
    monkeypatch.setattr(owner, name, mutant(getattr(owner, name), old, new))

    def check(policy: RetentionPolicy, budget: float, steps: list[tuple[Any, ...]]) -> None:
        told(policy, budget, steps)

    with pytest.raises(AssertionError, match=told_of):
        histories(max(HISTORIES, 1000), check, shrunk=False, number=GUARDS_SEED)()


def mutant(function: FunctionType, old: str, new: str) -> Any:
    """A function with another text in place of one that it has."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{old} is not a text of {function.__name__} any more"
    found: dict[str, Any] = {}
    source = f"from __future__ import annotations\n{source.replace(old, new)}"
    exec(compile(source, "mutant", "exec"), dict(function.__globals__), found)
    return found[function.__name__]
