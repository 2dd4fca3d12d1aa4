"""Hidden artifacts that a Job restores: waited for, never made in its place, never called Ready."""

from __future__ import annotations

import pytest

from reconciler.planner.phases import Phase
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import TaskKey
from tests.planner.test_losses import artifact_key, family, restart
from tests.planner.world import World, finetune, scratch


def hidden(world: World, name: str) -> TaskKey:
    """What a collection has hidden, and a sync has asked for."""
    key = artifact_key(world, name)
    world.ledger.hidden[key] = world.now
    world.ledger.withdraw(key)
    return key


def reasons(world: World) -> dict[str, tuple[Phase, str]]:
    return {ref.name: (record.phase, record.reason) for ref, record in world.records.items()}


def test_an_artifact_that_is_being_restored_is_waited_for_and_not_made() -> None:
    world = family()
    key = hidden(world, "a")
    world.files["c.yaml"] = finetune("c", "a")
    world.settle()
    assert world.made() == []
    assert reasons(world) == {
        "a": (Phase.WAITING, "ArtifactHidden"),
        "b": (Phase.READY, "Complete"),
        "c": (Phase.WAITING, "DependencyBlocked"),
    }
    world.ledger.restore(key)
    world.settle()
    assert world.made() == [("c", "train")]
    assert set(world.phases().values()) == {Phase.READY}
    assert not world.ledger.hidden


def test_of_what_cannot_be_restored_the_reason_names_the_cause() -> None:
    world = family()
    key = hidden(world, "a")
    world.settle()
    cause = Reason.of(ReasonCode.POD_REFUSED, job="r-collect", detail="over the quota")
    assert world.ledger.obstruct(key, cause)
    assert not world.ledger.obstruct(key, cause), "known already"
    world.settle()
    assert reasons(world)["a"] == (Phase.WAITING, "ArtifactNotRestored")
    (told,) = (record.message for ref, record in world.records.items() if ref.name == "a")
    assert "over the quota" in told
    world.ledger.restore(key)
    assert not world.ledger.obstacles


def test_what_was_removed_before_it_could_be_restored_is_made_anew() -> None:
    world = family()
    key = hidden(world, "a")
    world.settle()
    world.ledger.collect(key, world.now)
    assert not world.ledger.restoring
    world.settle()
    assert world.made() == [("a", "train")]
    assert artifact_key(world, "a") == key


@pytest.mark.parametrize("restored", [True, False])
def test_a_pinned_artifact_that_is_being_restored_keeps_its_place(restored: bool) -> None:
    world = family()
    key = artifact_key(world, "a")
    world.files["a.yaml"] = scratch("a").replace("epochs: 3", "epochs: 4")
    world.settle()
    pinned = finetune("c", "a").replace("name: a}", f"name: a, key: '{key}'}}")
    assert key in pinned
    world.made()
    world.ledger.hidden[key] = world.now
    world.ledger.withdraw(key)
    world.files["c.yaml"] = pinned
    world.settle()
    assert world.made() == []
    assert reasons(world)["c"] == (Phase.WAITING, "ArtifactHidden")
    if restored:
        world.ledger.restore(key)
        world.settle()
        assert world.made() == [("c", "train")]
        assert reasons(world)["c"] == (Phase.READY, "Complete")
    else:
        world.ledger.collect(key, world.now)
        world.settle()
        assert world.made() == []
        assert reasons(world)["c"] == (Phase.WAITING, "ReferenceIncomplete")


def test_a_promotion_of_what_is_being_restored_waits() -> None:
    world = family()
    key = artifact_key(world, "a")
    world.files["a.yaml"] = scratch("a").replace("epochs: 3", "epochs: 4")
    world.settle()
    world.ledger.hidden[key] = world.now
    world.ledger.withdraw(key)
    promoted = f"source: {{model: {{name: a, key: '{key}'}}}}, load: {{command: []}}"
    world.files["p.yaml"] = f"kind: Model\nmetadata: {{name: p}}\nspec: {{{promoted}}}\n"
    world.settle()
    assert reasons(world)["p"] == (Phase.WAITING, "ArtifactHidden")
    world.ledger.restore(key)
    world.settle()
    assert reasons(world)["p"][0] is Phase.READY


def test_a_restore_is_no_recompute_for_the_guard() -> None:
    world = family()
    world.settings = world.settings.__class__(
        buckets=world.settings.buckets, guard_tasks=0, guard_gpus=0
    )
    world.settle()
    key = hidden(world, "a")
    world.settle()
    assert reasons(world)["a"] == (Phase.WAITING, "ArtifactHidden")
    world.ledger.restore(key)
    world.settle()
    assert reasons(world)["a"] == (Phase.READY, "Complete")


def test_a_restart_finds_it_hidden_and_is_asked_again() -> None:
    world = family()
    key = hidden(world, "a")
    world.settle()
    restart(world)
    assert key in world.ledger.completed
    assert not world.ledger.restoring


def test_a_report_of_its_loss_from_before_counts_no_more() -> None:
    """The run of a consumer that began while it was hidden."""
    world = family()
    key = hidden(world, "a")
    turn = world.ledger.turn
    world.ledger.restore(key)
    assert world.ledger.completed[key].turn > turn
