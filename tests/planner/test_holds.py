"""A sync that would recompute or remove too much is held, under an id of exactly its actions."""

from __future__ import annotations

from dataclasses import replace

from reconciler.planner.holds import read_release
from reconciler.planner.phases import Phase
from reconciler.planner.plan import HoldKind
from reconciler.types import TaskKind
from tests.planner.histories import annotated, changed
from tests.planner.world import World, finetune, model, scratch


def trained(count: int = 4, **settings: object) -> World:
    """A base and Models off it, all Ready."""
    world = World({"base.yaml": scratch("base")})
    world.settings = replace(world.settings, **settings)  # type: ignore[arg-type]
    for number in range(count):
        world.files[f"m{number}.yaml"] = finetune(f"m{number}", "base")
    world.settle()
    world.made()
    return world


def test_what_is_new_and_needs_no_gpu_is_not_held() -> None:
    world = trained(guard_tasks=0, guard_gpus=0)
    world.files["new.yaml"] = finetune("new", "base")
    world.settle()
    assert world.phase("new") is Phase.READY


def test_recomputing_more_than_the_guard_is_held_until_it_is_released() -> None:
    world = trained(guard_tasks=4)
    world.files["base.yaml"] = changed("base")
    plan = world.settle()
    assert world.made() == []
    (hold,) = plan.holds
    assert (hold.kind, hold.tasks) == (HoldKind.GUARD, 5)
    assert set(world.phases().values()) == {Phase.HELD}
    assert hold.id in world.records[model("base")].message
    assert world.records[model("base")].artifact is not None

    world.released = frozenset({hold.id})
    plan = world.settle()
    assert not plan.holds
    assert len(world.made()) == 5
    assert set(world.phases().values()) == {Phase.READY}


def test_a_released_sync_is_not_held_again_while_it_is_worked_off() -> None:
    world = trained(guard_tasks=4)
    world.files["base.yaml"] = changed("base")
    (hold,) = world.sync().holds
    world.released = frozenset({hold.id})
    world.sync()
    world.released = frozenset()
    world.succeed(world.run_of("base", TaskKind.TRAIN))
    assert not world.sync().holds
    world.settle()
    assert set(world.phases().values()) == {Phase.READY}


def test_another_set_of_actions_has_another_id() -> None:
    world = trained(guard_tasks=2)
    world.files["base.yaml"] = changed("base")
    (first,) = world.sync().holds
    assert world.sync().holds[0].id == first.id
    world.files["base.yaml"] = changed("base", 7)
    (second,) = world.sync().holds
    assert first.id != second.id


def test_gpus_are_guarded_as_well() -> None:
    gpus = ", resources: {gpu: {count: 2}, nodes: 4}"
    world = World({"a.yaml": scratch("a", gpus)})
    world.settings = replace(world.settings, guard_gpus=7)
    world.settle()
    world.files["a.yaml"] = scratch("a", gpus).replace("epochs: 3", "epochs: 5")
    (hold,) = world.sync().holds
    assert hold.gpus == 8


def test_removing_too_large_a_share_is_held() -> None:
    world = trained(11, prune_floor=10, prune_share=0.5)
    for number in range(11):
        del world.files[f"m{number}.yaml"]
    plan = world.settle()
    (hold,) = plan.holds
    assert hold.kind is HoldKind.PRUNE
    assert not plan.removed
    assert world.phase("m0") is Phase.HELD
    world.released = frozenset({hold.id})
    assert len(world.sync().removed) == 11


def test_a_tree_without_any_manifest_removes_nothing() -> None:
    world = trained(1)
    world.files.clear()
    plan = world.sync()
    assert not plan.removed
    assert plan.holds[0].kind is HoldKind.PRUNE


def test_a_release_file_has_one_id_a_line() -> None:
    data = b"# why\n123456789abc  # reviewed\n\n fedcba987654\n"
    assert read_release(data) == {"123456789abc": 2, "fedcba987654": 4}
    assert [*read_release(b"\xef\xbb\xbf123456789abc\r\n")] == ["123456789abc"], "as Windows does"
    assert not read_release(None)


def test_gpus_of_new_objects_are_guarded() -> None:
    world = trained(guard_tasks=0, guard_gpus=8)
    for number in range(3):
        world.files[f"n{number}.yaml"] = scratch(f"n{number}", ", resources: {gpu: {count: 4}}")
    world.files["cpu.yaml"] = finetune("cpu", "base")
    (hold,) = world.settle().holds
    assert (hold.tasks, hold.gpus) == (3, 12)
    assert hold.reason.arguments["existing"] == 0
    held = {name for name, phase in world.phases().items() if phase is Phase.HELD}
    assert held == {"n0", "n1", "n2"}
    world.released = frozenset({hold.id})
    assert not world.settle().holds
    assert set(world.phases().values()) == {Phase.READY}


def test_a_change_while_suspended_is_held_once_it_is_resumed() -> None:
    world = trained(guard_tasks=4)
    for number in range(4):
        file = f"m{number}.yaml"
        world.files[file] = world.files[file].replace("spec: {", "spec: {suspend: true, ")
    world.files["base.yaml"] = changed("base").replace("spec: {", "spec: {suspend: true, ")
    world.settle()
    world.made()
    for file, text in world.files.items():
        world.files[file] = text.replace("suspend: true, ", "")
    (hold,) = world.settle().holds
    assert (hold.tasks, world.made()) == (5, [])


def test_a_line_releases_once() -> None:
    world = trained(guard_tasks=4)
    world.files["base.yaml"] = changed("base")
    (hold,) = world.settle().holds
    world.released = frozenset({hold.id})
    world.settle()
    made = world.made()
    world.runs.clear()
    for key in list(world.ledger.completed):
        world.ledger.lose(key, world.now)  # so that the same actions come again
    (again,) = world.settle().holds
    assert (again.id != hold.id, world.made()) == (True, [])
    world.released |= {again.id}
    assert not world.settle().holds
    assert len(made) == 5 <= len(world.made())


def test_a_line_releases_a_removal_once() -> None:
    world = trained(11, prune_floor=10, prune_share=0.5)
    files = dict(world.files)
    world.files = {"base.yaml": files["base.yaml"]}
    (hold,) = world.settle().holds
    world.released = frozenset({hold.id})
    world.settle()
    world.files = dict(files)
    world.settle()
    world.files = {"base.yaml": files["base.yaml"]}
    plan = world.settle()
    assert [again.id != hold.id for again in plan.holds] == [True]
    assert not plan.removed


def gpus(count: int) -> str:
    return f", resources: {{gpu: {{count: {count}}}}}"


def test_more_gpus_for_what_was_accepted_are_guarded() -> None:
    world = World({"d.yaml": scratch("d", gpus(1))})
    world.settings = replace(world.settings, guard_gpus=8)
    world.sync()  # its build begins
    world.files["d.yaml"] = scratch("d", gpus(400))
    (hold,) = world.settle().holds
    assert (hold.gpus, [name for name, _ in world.made()]) == (400, ["build"])
    world.files["d.yaml"] = scratch("d", gpus(800))
    (larger,) = world.settle().holds
    assert larger.id != hold.id, "a release is of so many GPUs"


def test_more_gpus_after_a_failure_are_guarded() -> None:
    world = World({"d.yaml": scratch("d", gpus(1))})
    world.settings = replace(world.settings, guard_gpus=8)
    world.sync()
    world.succeed(world.live()[0])
    world.sync()
    world.fail(world.run_of("d", TaskKind.TRAIN))
    world.sync()
    world.made()
    world.files["d.yaml"] = scratch("d", gpus(400))
    (hold,) = world.settle().holds
    assert (hold.gpus, world.made()) == (400, [])


def test_of_objects_that_share_a_key_the_most_gpus_count() -> None:
    for first, second in ((400, 1), (1, 400)):
        world = World({})
        world.settings = replace(world.settings, guard_gpus=8)
        for name, count in (("a", first), ("b", second)):
            text = scratch("a", gpus(count)).replace("{name: a", f"{{name: {name}")
            world.files[f"{name}.yaml"] = annotated(text, "formerly: zz")
        (hold,) = world.settle().holds
        assert hold.gpus == 400
