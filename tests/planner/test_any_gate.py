"""Whatever happens, in whatever order: nothing runs on an artifact that no gate has let through."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.engine import FailureClass
from reconciler.planner.phases import Phase
from reconciler.types import TaskKind
from tests.planner.histories import restart
from tests.planner.test_gates import PROMOTED, gated
from tests.planner.world import World, finetune, model

TRAIN, EVALUATE = TaskKind.TRAIN, TaskKind.EVALUATE
ACCURACIES = [0.2, 0.5, 0.8]
#: The code of a test that is not the model's.
TEST = "https://example.com/test.git"
TEST_SOURCES = [f", source: {{git: {{url: {TEST}, update: {mode}}}}}" for mode in ("Pin", "Follow")]
#: A threshold by the text of its line.
LINES = {"accuracy >= 0.1": 0.1, "accuracy >= 0.4": 0.4, "accuracy >= 0.7": 0.7}


@dataclass(frozen=True)
class Form:
    """What the manifest of the base says."""

    epochs: int = 0
    require: str = "accuracy >= 0.4"
    test: int = 0
    accept: str = ""
    source: str = ""


class AnyGate(RuleBasedStateMachine):
    """A gated base, finetunes and promotions of it, and its manifest in ever new forms.

    ``let_through`` has the keys that a line of the manifest, or its annotation, has ever let
    through: worked out here, from the metrics that this test gave.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.form = Form()
        self.measured: dict[str, float] = {}
        self.trained: set[str] = set()
        self.let_through: set[str] = set()
        self.write()
        self.world.files["tuned"] = finetune("tuned", "base")
        self.world.files["second"] = finetune("second", "tuned")
        self.world.files["production"] = PROMOTED % ""

    def write(self) -> None:
        form = self.form
        self.world.files["base"] = gated(
            epochs=form.epochs, require=form.require, test=form.test, accept=form.accept
        ).replace("command: [evaluate.sh]", f"command: [evaluate.sh]{form.source}")

    @rule(epochs=st.integers(0, 2))
    def train_another(self, epochs: int) -> None:
        self.form = replace(self.form, epochs=epochs, accept="")
        self.write()

    @rule(line=st.sampled_from(sorted(LINES)))
    def require(self, line: str) -> None:
        self.form = replace(self.form, require=line)
        self.write()

    @rule(test=st.integers(0, 1))
    def test_otherwise(self, test: int) -> None:
        self.form = replace(self.form, test=test)
        self.write()

    @rule(source=st.sampled_from(["", *TEST_SOURCES]))
    def test_by_other_code(self, source: str) -> None:
        self.form = replace(self.form, source=source)
        self.write()

    @rule(name=st.sampled_from(["one", "two", "unreachable"]))
    def move_the_test(self, name: str) -> None:
        self.world.trees[f"{TEST}//"] = name

    @rule()
    def accept(self) -> None:
        key = self.world.keys()["base", TRAIN]
        self.form = replace(self.form, accept=(key or "")[:12])
        self.write()

    @rule(number=st.integers(0, 5))
    def pin(self, number: int) -> None:
        """Production follows, or holds on to any artifact of the base."""
        keys = sorted(self.trained)
        pinned = f", key: '{keys[number % len(keys)]}'" if keys and number else ""
        self.world.files["production"] = PROMOTED % pinned

    @rule(accuracy=st.sampled_from(ACCURACIES))
    def end_runs(self, accuracy: float) -> None:
        for name in self.world.live():
            self.world.succeed(name)
            spec, run = self.world.specs[name], self.world.runs[name]
            if spec.task is TRAIN and spec.object == model("base"):
                self.trained.add(spec.key)
            if spec.task is EVALUATE and run.result is not None:
                self.measured[spec.key] = accuracy
                result = replace(run.result, metrics={"accuracy": accuracy})
                self.world.runs[name] = replace(run, result=result)

    @rule()
    def fail_a_run(self) -> None:
        for name in self.world.live()[:1]:
            self.world.fail(name, FailureClass.COMMAND)

    @rule()
    def forget(self) -> None:
        """Another daemon: it has the records, and the runs that the last sync saw."""
        self.sync()
        restart(self.world)

    @rule()
    def sync(self) -> None:
        before = len(self.world.created)
        self.judge()
        self.world.sync()
        for spec in self.world.created[before:]:
            read = spec.base.key if spec.base is not None else None
            assert read not in self.trained - self.let_through, "it runs on a rejected artifact"

    def judge(self) -> None:
        """Let through what the manifest of now does."""
        keys = self.world.keys()
        key, evaluation = keys["base", TRAIN], keys["base", EVALUATE]
        assert key is not None
        accepted = bool(self.form.accept) and key.startswith(self.form.accept)
        measured = self.measured.get(evaluation) if evaluation is not None else None
        passed = measured is not None and measured >= LINES[self.form.require]
        if accepted or passed:
            self.let_through.add(key)

    @invariant()
    def nothing_serves_a_rejected_artifact(self) -> None:
        for record in self.world.records.values():
            if record.artifact is not None:
                assert record.artifact.key not in self.trained - self.let_through

    def teardown(self) -> None:
        """Left alone, with all evaluations good, everything becomes Ready that can."""
        follow = TEST_SOURCES[-1] if self.form.source else ""
        self.form = Form(epochs=9, test=self.form.test, source=follow)
        self.write()
        self.pin(0)
        for place in (".//src/base", f"{TEST}//"):  # their builds may have failed
            self.world.trees[place] = f"{place} mended"
        for _ in range(20):
            self.sync()
            self.end_runs(0.8)
        assert set(self.world.phases().values()) == {Phase.READY}


TestAnyGate = AnyGate.TestCase
TestAnyGate.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
