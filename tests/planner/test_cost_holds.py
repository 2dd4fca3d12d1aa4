"""What would cost, spend or lose too much is held until it is released."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.engine import FailureClass
from reconciler.manifests import Tenant, Tenants
from reconciler.planner.object_status import Verdict
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.plan import ActionKind, HoldKind
from reconciler.planner.prices import Prices
from reconciler.planner.status_update import update_status
from reconciler.reasons import message
from tests.planner.histories import annotated, restart, training
from tests.planner.world import World, finetune, model, scratch

HOUR = timedelta(hours=1)
GPU = ", resources: {gpu: {count: 1}}"
PRICES = Prices(currency="EUR", gpus={"any": 1.0})


def priced(count: int = 1, *, tenants: Tenants | None = None, **limits: float) -> World:
    """A base, and Models off it that each took an hour of a GPU."""
    world = World({"base.yaml": scratch("base")})
    world.settings = replace(world.settings, prices=PRICES, tenants=tenants or Tenants())
    for number in range(count):
        world.files[f"m{number}.yaml"] = finetune(f"m{number}", "base", GPU)
    world.settle(an_hour)
    world.made()
    world.settings = replace(world.settings, **limits)  # type: ignore[arg-type]
    return world


def an_hour(world: World, run: str) -> None:
    world.runs[run] = replace(world.runs[run], started=world.now - HOUR)
    world.succeed(run)


def add(world: World, count: int) -> None:
    for number in range(count):
        world.files[f"n{number}.yaml"] = finetune(f"n{number}", "base", GPU)


def test_what_would_cost_more_than_the_guard_is_held_until_it_is_released() -> None:
    world = priced(guard_cost=2.5)
    add(world, 2)
    assert not world.sync().holds
    for name in ("a", "b", "c"):
        world.files[f"{name}.yaml"] = finetune(name, "base", GPU)
    (hold,) = world.sync().holds
    assert (hold.kind, hold.tasks) == (HoldKind.COST, 3)
    assert hold.reason.arguments["cost"] == "EUR 3.00"
    assert world.phase("a") is Phase.HELD
    world.released = frozenset({hold.id})
    world.settle(an_hour)
    assert set(world.phases().values()) == {Phase.READY}


def test_a_queue_that_was_accepted_is_not_held_by_its_cost_again() -> None:
    world = priced(guard_cost=2.5, limit_runs=1)
    add(world, 2)
    world.sync()
    world.settings = replace(world.settings, guard_cost=0.5)
    world.settle(an_hour)
    assert set(world.phases().values()) == {Phase.READY}


def test_a_budget_holds_what_does_not_fit_until_the_next_month() -> None:
    world = priced(budget_month=2.5)
    add(world, 2)
    plan = world.sync()
    (hold,) = plan.holds
    assert (hold.kind, hold.tasks) == (HoldKind.BUDGET, 2)
    assert hold.reason.arguments["spent"] == "EUR 1.00"
    assert plan.retry_at is not None
    assert f"{plan.retry_at:%Y-%m-%d %H:%M}" == "2026-02-01 00:00"
    world.now = plan.retry_at
    world.settle(an_hour)
    assert set(world.phases().values()) == {Phase.READY}


def test_what_started_and_ended_since_the_last_sync_counts_before_it_is_recorded() -> None:
    world = priced(budget_month=4.5)
    add(world, 1)
    assert not world.sync().holds
    (run,) = world.live()
    world.now += 4 * HOUR
    world.runs[run] = replace(world.runs[run], started=world.now - 4 * HOUR)
    world.succeed(run)
    world.files["late.yaml"] = finetune("late", "base", GPU)
    (hold,) = world.sync().holds
    assert (hold.kind, hold.tasks) == (HoldKind.BUDGET, 1)


def test_a_released_task_passes_a_budget_for_as_long_as_it_waits() -> None:
    world = priced(budget_month=0.5, limit_runs=1)
    add(world, 2)
    (hold,) = world.sync().holds
    world.released = frozenset({hold.id})
    world.sync()
    world.released = frozenset()
    world.settle(an_hour)
    assert set(world.phases().values()) == {Phase.READY}
    add(world, 3)
    assert [hold.kind for hold in world.sync().holds] == [HoldKind.BUDGET]


def released(world: World) -> None:
    """Release the one hold; its line goes, as it has released."""
    (hold,) = world.sync().holds
    world.released = frozenset({hold.id})
    world.sync()
    world.released = frozenset()


def test_a_release_is_used_up_by_the_artifact_that_it_let_be_made() -> None:
    world = priced(budget_month=0.5)
    add(world, 1)
    released(world)
    world.settle(an_hour)
    artifact = world.records[model("n0")].artifact
    assert artifact is not None
    world.ledger.lose(artifact.key, world.now)
    assert [hold.kind for hold in world.sync().holds] == [HoldKind.BUDGET]
    assert world.live() == []


def test_a_release_is_of_the_execution_that_was_held() -> None:
    world = priced(budget_month=0.5, limit_runs=1)
    world.files["first.yaml"] = finetune("first", "base", GPU)
    add(world, 1)
    released(world)
    (run,) = world.live()
    (waiting,) = {"first", "n0"} - {name for name in ("first", "n0") if f"-{name}-" in run}
    file = f"{waiting}.yaml"
    world.files[file] = finetune(waiting, "base", GPU.replace("count: 1", "count: 8"))
    (hold,) = world.sync().holds
    assert (hold.kind, hold.gpus) == (HoldKind.BUDGET, 8)


def test_an_unknown_cost_is_held_once_the_budget_is_spent() -> None:
    world = priced(budget_month=1.0)
    world.files["new.yaml"] = scratch("new", GPU)
    (hold,) = world.sync().holds
    assert (hold.kind, hold.reason.arguments["unknown"]) == (HoldKind.BUDGET, 2)


def test_a_removed_object_has_spent_its_part_of_the_budget_all_the_same() -> None:
    world = priced(2, budget_month=2.5)
    world.settings = replace(world.settings, prune_floor=10)
    del world.files["m1.yaml"]
    world.settle()
    add(world, 1)
    (hold,) = world.sync().holds
    assert hold.reason.arguments["spent"] == "EUR 2.00"


def test_a_run_that_ended_as_its_object_was_removed_has_cost_and_made_what_it_did() -> None:
    world = priced(2, budget_month=5.5)
    world.settings = replace(world.settings, prune_floor=10)
    world.files["m1.yaml"] = world.files["m1.yaml"].replace("epochs: 3", "epochs: 4")
    world.sync()
    (run,) = world.live()
    world.start(run)
    world.sync()
    world.now += 3 * HOUR
    world.succeed(run)
    del world.files["m1.yaml"]
    plan = world.sync()
    add(world, 1)
    (hold,) = world.sync().holds
    assert hold.reason.arguments["spent"] == "EUR 5.00"
    last = update_status(plan, changed={}, places={})[model("m1")].history[-1]
    assert (last.phase, last.key) == (TaskPhase.SUCCEEDED, world.specs[run].key)
    assert last.artifact is not None
    assert last.verdict is Verdict.PENDING, "no gate of it has judged that"


def test_a_tenant_has_a_budget_of_its_own() -> None:
    world = priced()
    own = Tenant(name="own", paths=("**",), namespaces=("default",), budget_month=1.5, gpus=("*",))
    world.settings = replace(world.settings, tenants=Tenants((own,), ""))
    add(world, 1)
    (hold,) = world.sync().holds
    assert (hold.kind, hold.tenant) == (HoldKind.BUDGET, "own")


@pytest.mark.parametrize("over_all", [0.0, 1.5])
def test_a_tenant_has_a_guard_of_its_own_for_what_its_objects_would_cost(over_all: float) -> None:
    world = priced(guard_cost=over_all, tenants=two_tenants(guard_cost=2.5))
    add(world, 1)
    world.files["theirs.yaml"] = in_namespace("theirs")
    assert not world.sync().holds, "each would cost less than its guard"
    world.settle(an_hour)
    for name in ("a", "b", "c"):
        world.files[f"{name}.yaml"] = finetune(name, "base", GPU)
    world.files["more.yaml"] = in_namespace("more")
    (hold,) = world.sync().holds
    assert (hold.kind, hold.tenant, hold.tasks) == (HoldKind.COST, "own", 3)
    assert hold.reason.arguments["cost"] == "EUR 3.00"
    assert hold.reason.arguments["limit"] == "EUR 2.50"
    assert "guard of tenant own" in message(hold.reason)
    assert {ref.name for ref in hold.objects} == {"a", "b", "c"}
    assert world.phase("more") is not Phase.HELD, "what a tenant's hold keeps counts once"


def two_tenants(**own: float) -> Tenants:
    """One of the namespace ``default`` with limits of its own, and one of ``other`` without."""
    members = (
        Tenant(name="own", paths=("**",), namespaces=("default",), gpus=("*",), **own),  # type: ignore[arg-type]
        Tenant(name="other", paths=("other/**",), namespaces=("other",), gpus=("*",)),
    )
    return Tenants(members, "")


def in_namespace(name: str) -> str:
    """A Model of the other tenant that takes an hour of a GPU."""
    return scratch(name, GPU).replace(f"name: {name}", f"name: {name}, namespace: other")


def running(hours: float) -> World:
    world = World({"a.yaml": scratch("a", ", resources: {gpu: {count: 2}}")})
    run = training(world, "a")
    world.start(run)
    world.sync()
    world.now += timedelta(hours=hours)
    return world


def supersede(world: World) -> None:
    world.files["a.yaml"] = world.files["a.yaml"].replace("epochs: 3", "epochs: 9")


def test_a_change_that_would_lose_more_than_the_guard_lets_the_run_go_on() -> None:
    world = running(5)
    (run,) = world.live()
    supersede(world)
    plan = world.sync()
    (hold,) = plan.holds
    assert (hold.kind, plan.endings) == (HoldKind.RUNNING, ())
    assert hold.reason.arguments["gpu_hours"] == pytest.approx(10)
    assert world.phase("a") is Phase.HELD
    assert world.live() == [run]
    again = world.sync()
    assert [each.id for each in again.holds] == [hold.id]

    world.released = frozenset({hold.id})
    assert [end.action for end in world.sync().endings] == [ActionKind.CANCEL]
    world.settle()
    assert world.phase("a") is Phase.READY


def test_a_run_that_has_cost_less_is_cancelled() -> None:
    world = running(3)
    supersede(world)
    assert [end.action for end in world.sync().endings] == [ActionKind.CANCEL]


def test_the_time_of_runs_without_a_gpu_is_guarded_where_that_is_asked_for() -> None:
    world = running(3)
    world.settings = replace(world.settings, guard_running_seconds=7200.0)
    supersede(world)
    assert [hold.kind for hold in world.sync().holds] == [HoldKind.RUNNING]


def test_the_next_run_starts_once_the_kept_one_has_ended() -> None:
    world = running(5)
    supersede(world)
    world.sync()
    (run,) = world.live()
    world.succeed(run)
    plan = world.settle()
    assert not plan.holds
    assert world.phase("a") is Phase.READY
    keys = [entry.key for entry in world.records[model("a")].history if entry.task == "train"]
    assert len(keys) == 2


def held_after_a_kept_run() -> World:
    """A task that the budget holds; the run of its earlier key was kept, and is gone."""
    world = running(5)
    world.settings = replace(world.settings, prices=PRICES, budget_month=1.0)
    (run,) = world.live()
    supersede(world)
    assert {hold.kind for hold in world.sync().holds} == {HoldKind.RUNNING, HoldKind.BUDGET}
    world.succeed(run)
    world.sync()
    world.runs.pop(run, None)
    return world


def test_a_run_that_was_kept_and_is_gone_lets_nothing_pass_the_budget() -> None:
    world = held_after_a_kept_run()
    for _ in range(3):
        assert [hold.kind for hold in world.sync().holds] == [HoldKind.BUDGET]
        world.now += HOUR
    assert world.live() == []
    assert world.phase("a") is Phase.HELD


def test_a_run_that_was_kept_and_is_gone_costs_nothing_more() -> None:
    world = held_after_a_kept_run()
    told = []
    for _ in range(3):
        told += [hold.reason.arguments.get("running") for hold in world.sync().holds]
        world.now += HOUR
    assert told == ["EUR 0.00"] * 3


def test_the_removal_of_an_object_with_such_a_run_is_held() -> None:
    world = running(5)
    world.files = {"b.yaml": scratch("b")}
    plan = world.sync()
    assert [hold.kind for hold in plan.holds] == [HoldKind.RUNNING]
    assert not plan.removed
    assert world.phase("a") is Phase.HELD
    world.released = frozenset({plan.holds[0].id})
    assert world.sync().removed == {model("a")}


def used(world: World, unrecorded: set[str]) -> float:
    """What all runs have cost up to now, also what no record has yet."""
    records, gone = world.records, world.ledger.removed_spent
    recorded = [record.spent for record in records.values()]
    recorded += [spent for ref, spent in gone.items() if ref not in records]
    total = sum(sum(spent.values()) for spent in recorded)
    for run in world.runs.values():
        if run.started is not None and (run.live or run.name in unrecorded):
            hours = ((run.finished or world.now) - run.started) / HOUR
            total += hours * (run.gpus or 0)
    return total


def edit(world: World, name: int, value: int, step: str) -> None:
    file, text = f"m{name}.yaml", finetune(f"m{name}", "base", GPU)
    match step:
        case "epochs":
            text = text.replace("epochs: 3", f"epochs: {value}")
        case "retry":
            text = annotated(text, f'retry: "{value}"')
        case "restart":
            gone = dict(world.ledger.removed_spent)
            restart(world)
            world.ledger.removed_spent = gone
    world.files[file] = text
    if step == "remove":
        del world.files[file]


STEPS = st.sampled_from(["succeed", "lose", "restart", "retry", "epochs", "remove"])


@settings(max_examples=25, deadline=None)
@example(
    budget=3,
    runs=0,
    steps=[
        (1, 3, "succeed"),
        (0, 1, "retry"),
        (1, 2, "succeed"),
        (2, 3, "lose"),
        (0, 2, "restart"),
    ],
)
@given(
    budget=st.integers(1, 6),
    runs=st.integers(0, 3),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), STEPS), max_size=25),
)
def test_no_budget_is_passed_by_more_than_what_ran_already(
    budget: int, runs: int, steps: list[tuple[int, int, str]]
) -> None:
    """Whatever is edited, ends, is lost or removed, and however often a daemon restarts."""
    world = World({"base.yaml": scratch("base")})
    limits = {"budget_month": float(budget), "limit_runs": runs, "prune_floor": 99}
    world.settings = replace(world.settings, prices=PRICES, **limits)  # type: ignore[arg-type]
    ended: set[str] = set()
    for name, hours, step in steps:
        edit(world, name, hours, step)
        for _ in range(2):
            before = used(world, ended)
            created = world.sync().creates()
            assert not created or before < budget, "a run starts after the budget is spent"
            ended.clear()
            for run in world.live():
                if world.runs[run].started is None:
                    world.start(run)
        world.now += hours * HOUR
        for run in world.live()[:2] if step in ("succeed", "lose") else ():
            if step == "lose":
                world.fail(run, FailureClass.INFRASTRUCTURE)
            else:
                world.succeed(run)
            ended.add(run)
