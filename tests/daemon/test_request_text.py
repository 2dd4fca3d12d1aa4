"""When the text of an open request of the daemon is edited."""

from __future__ import annotations

from dataclasses import replace

from reconciler.daemon.update_requests import _body, _is_in
from reconciler.forge import OwnRequest
from reconciler.review import Update, pinned_sources, source_updates
from tests.planner.world import World, finetune, model
from tests.review.test_updates import GPU, HOUR, NEWEST, an_hour, pinned, priced


def request(body: str) -> OwnRequest:
    return OwnRequest(number=1, branch="update", title="Update", body=body, is_open=True)


def update(world: World) -> Update:
    plan = world.plan()
    (found,) = source_updates(plan, dict.fromkeys(pinned_sources(plan), NEWEST))
    return found


def two_hours(world: World, run: str) -> None:
    an_hour(world, run)
    world.runs[run] = replace(world.runs[run], started=world.now - 2 * HOUR)


def test_a_run_that_moves_the_estimate_edits_no_request() -> None:
    world = priced(base=pinned())
    world.settle(an_hour)
    before = update(world)
    world.files["base"] = pinned(epochs=300)
    world.settle(two_hours)
    after = update(world)
    assert before.estimate != after.estimate
    assert before == after, "nothing is sent"
    open_one = request(_body(before, planned=True))
    assert before.estimate in open_one.body
    assert _is_in(open_one, after)
    assert after.estimate in _body(after, planned=True), "another edit brings the newest"


def test_a_change_of_what_a_merge_runs_edits_the_request() -> None:
    world = priced(base=pinned())
    world.settle(an_hour)
    before = update(world)
    world.files["tuned"] = finetune("tuned", "base", GPU)
    world.settle(an_hour)
    assert model("tuned") in world.records
    assert before != update(world)
    assert not _is_in(request(_body(before, planned=True)), update(world))
