"""The pull requests that the daemon opens: their order, and what they say of runs and money."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.planner.prices import Prices
from reconciler.planner.remote_clusters import RemoteObject
from reconciler.review import by_urgency, pinned_sources, promotion_updates, source_updates
from reconciler.review.updates import SOURCE_KEY_FIELD, Update
from reconciler.types import Commit, Kind, ObjectRef, ResolvedSource, SourceField, TaskKind, TreeId
from tests.planner.test_evaluation_source import TEST, gated_by
from tests.planner.test_gates import measuring
from tests.planner.test_remote_clusters import BASE, key, ready
from tests.planner.test_remote_clusters import PROMOTED as FOREIGN
from tests.planner.test_remote_clusters import world as other_cluster
from tests.planner.world import World, finetune, model
from tests.review.test_markdown import tokens

HOUR = timedelta(hours=1)
GPU = ", resources: {gpu: {type: l4, count: 2}}"
PRICES = Prices(currency="EUR", gpus={"l4": 1.0})
PINNED = """\
kind: Model
metadata: {name: %s}
spec:
  source: {git: {url: "https://example.com/code.git", commit: "%s"}}
  training: {mode: Scratch, params: {epochs: %d}, resources: {gpu: {type: l4, count: 2}}}
"""
SERVES = """\
kind: Model
metadata: {name: %s}
spec: {source: {model: {name: %s, key: %s}}, load: {command: []}}
"""
FIRST = "1" * 40
NEWEST = ResolvedSource(Commit("2" * 40), TreeId("3" * 40))


def update(name: str, source: SourceField, field: tuple[str, ...]) -> Update:
    ref = ObjectRef(Kind.MODEL, "default", name)
    return Update(ref=ref, source=source, file="", field=field, new="", title="", text="")


def test_promotions_come_first_and_the_code_of_a_test_after_its_model() -> None:
    pin = ("spec", "source", "git", "commit")
    promotion = update("z", SourceField.OBJECT, SOURCE_KEY_FIELD)
    model = update("a", SourceField.OBJECT, pin)
    test = update("a", SourceField.EVALUATION, ("spec", "evaluation", *pin[1:]))
    assert by_urgency([test, model, promotion]) == [promotion, model, test]


def priced(prices: Prices = PRICES, **files: str) -> World:
    world = World(dict(files))
    world.settings = replace(world.settings, prices=prices)
    return world


def an_hour(world: World, run: str) -> None:
    """Let a run end that took an hour, and has an accuracy."""
    world.runs[run] = replace(world.runs[run], started=world.now - HOUR)
    measuring({"any": {"accuracy": 0.95}})(world, run)
    ended = world.runs[run]
    if ended.task is TaskKind.TRAIN and ended.result is not None:
        result = replace(ended.result, metrics={"accuracy": 0.95})
        world.runs[run] = replace(ended, result=result)


def shown(found: Update) -> str:
    return f"{found.text} {found.estimate}".rstrip()


def source_texts(world: World) -> dict[tuple[str, SourceField], str]:
    """The text of the request for each pinned source, whose remote has other files."""
    plan = world.plan()
    heads = dict.fromkeys(pinned_sources(plan), NEWEST)
    return {(u.ref.name, u.source): shown(u) for u in source_updates(plan, heads)}


def pinned(name: str = "base", epochs: int = 3) -> str:
    return PINNED % (name, FIRST, epochs)


def test_the_request_of_a_source_says_what_it_runs_and_what_that_is_estimated_to_cost() -> None:
    world = priced(base=pinned(), tuned=finetune("tuned", "base", GPU))
    world.settle(an_hour)
    assert source_texts(world)["base", SourceField.OBJECT].endswith(
        "\n\nMerging it runs 1 build and 2 trainings. Estimate, of recorded runs: 3h00m of runs, "
        "3h00m until done, 4.00 GPU hours, EUR 4.00."
    )


def test_without_prices_a_request_tells_time_and_no_money() -> None:
    world = priced(Prices(currency="EUR"), base=pinned())
    world.settle(an_hour)
    (text,) = source_texts(world).values()
    assert text.endswith(
        "Merging it runs 1 build and 1 training. Estimate, of recorded runs: 2h00m of runs, "
        "2h00m until done, 2.00 GPU hours."
    )


def test_what_has_no_history_is_unknown_and_no_money_is_guessed() -> None:
    (text,) = source_texts(priced(base=pinned())).values()
    assert text.endswith(
        "Merging it runs 1 build and 1 training. "
        "Estimate: unknown, as no run like these is recorded."
    )
    assert "EUR" not in text


def test_what_does_not_follow_the_source_is_not_counted() -> None:
    world = priced(base=pinned(), other=pinned("other", epochs=4))
    world.settle(an_hour)
    made = world.records[model("base")].artifact
    assert made is not None
    world.files["fixed"] = finetune("fixed", f"base, key: {made.key}", GPU)
    world.files["idle"] = finetune("idle", "base", GPU).replace("spec:", "spec:\n  suspend: true")
    world.settle(an_hour)
    for text in source_texts(world).values():  # they share a build, and each has a pin of its own
        assert "Merging it runs 1 build and 1 training. " in text


def test_what_is_made_from_a_promotion_that_follows_is_counted() -> None:
    world = priced(
        base=pinned(),
        live=SERVES.replace(", key: %s", "") % ("live", "base"),
        tuned=finetune("tuned", "live", GPU),
    )
    world.settle(an_hour)
    (text,) = source_texts(world).values()
    assert "Merging it runs 1 build and 2 trainings. " in text


def test_the_code_of_a_test_runs_no_training() -> None:
    pin = f", commit: '{FIRST}'"
    world = priced(base=gated_by(pin, code_ref=pin))
    world.settle(an_hour)
    texts = source_texts(world)
    assert "Merging it runs 1 build and 1 evaluation. " in texts["base", SourceField.EVALUATION]
    assert (
        "Merging it runs 1 build, 1 training and 1 evaluation. "
        in texts["base", SourceField.OBJECT]
    )


@pytest.mark.parametrize("own_test", [False, True])
def test_what_a_gate_compares_with_is_evaluated_anew_where_the_test_changes(
    *, own_test: bool
) -> None:
    pin = f", commit: '{FIRST}'"
    text = gated_by(pin, url=TEST if own_test else None, code_ref=pin)
    text = text.replace("0.9", "current.accuracy - 0.1")
    world = priced(base=text)
    world.settle(an_hour)
    evaluations = "1 evaluation" if own_test else "2 evaluations"
    of_model = source_texts(world)["base", SourceField.OBJECT]
    assert f"Merging it runs 1 build, 1 training and {evaluations}. " in of_model


def test_a_suspended_object_runs_nothing_for_a_newer_source() -> None:
    world = priced(base=pinned().replace("spec:", "spec:\n  suspend: true"))
    (text,) = source_texts(world).values()
    assert text.endswith("\n\nMerging it makes nothing run.")


def serving(prices: Prices = PRICES, end: Callable[[World, str], None] = an_hour) -> World:
    """A pinned promotion, whose base has another artifact."""
    world = priced(prices, base=pinned())
    world.settle(end)
    made = world.records[model("base")].artifact
    assert made is not None
    world.files["live"] = SERVES % ("live", "base", made.key)
    world.settle(end)
    world.files["base"] = pinned(epochs=4)
    world.settle(end)
    return world


def test_the_request_of_a_promotion_compares_metrics_and_cost() -> None:
    promoted = serving()
    (text,) = [shown(u) for u in promotion_updates(promoted.plan(), {})]
    assert "| `accuracy` | `0.95` | `0.95` |\n" in text
    assert "| cost of its runs (estimate) | `EUR 2.00` | `EUR 2.00` |\n" in text
    assert text.endswith("\n\nMerging it makes nothing run.")


def test_the_request_of_a_promotion_has_the_price_of_what_is_made_from_it() -> None:
    promoted = serving()
    promoted.files["tuned"] = finetune("tuned", "live", GPU)
    promoted.settle(an_hour)
    (text,) = [shown(u) for u in promotion_updates(promoted.plan(), {})]
    assert text.endswith(
        "Merging it runs 1 training. Estimate, of recorded runs: 1h00m of runs, 1h00m until done, "
        "2.00 GPU hours, EUR 2.00."
    )


def test_what_took_no_second_has_cost_nothing_yet_in_that_currency() -> None:
    def at_once(world: World, run: str) -> None:
        world.runs[run] = replace(world.runs[run], started=world.now)
        world.succeed(run)

    (text,) = [shown(u) for u in promotion_updates(serving(end=at_once).plan(), {})]
    assert "| cost of its runs (estimate) | `EUR 0.00` | `EUR 0.00` |\n" in text
    (text,) = [shown(u) for u in promotion_updates(serving(Prices(), at_once).plan(), {})]
    assert "cost" not in text


def test_what_has_no_recorded_begin_has_no_cost() -> None:
    (text,) = [shown(u) for u in promotion_updates(serving(end=World.succeed).plan(), {})]
    assert "cost" not in text


@pytest.mark.parametrize("unseen", [False, True])
def test_runs_whose_time_is_not_recorded_have_no_cost(*, unseen: bool) -> None:
    world = serving()
    record = world.records[model("base")]
    last = record.history[-1]
    assert last.task is TaskKind.TRAIN
    found = replace(last, seconds=0.0, gpu_seconds=0.0, cost=0.0)
    # It was found in a bucket, or made again by a run that nobody saw.
    history = (*record.history, found) if unseen else (*record.history[:-1], found)
    world.records[model("base")] = replace(record, history=history)
    (text,) = [shown(u) for u in promotion_updates(world.plan(), {})]
    assert "| cost of its runs (estimate) | `EUR 2.00` | - |\n" in text


def test_no_name_breaks_out_of_a_table() -> None:
    name = "x|![i](https://e.example/i.png) @org/team|`|<b>"

    def hostile(world: World, run: str) -> None:
        an_hour(world, run)
        ended = world.runs[run]
        if ended.result is not None:
            world.runs[run] = replace(ended, result=replace(ended.result, metrics={name: 0.95}))

    (text,) = [shown(u) for u in promotion_updates(serving(end=hostile).plan(), {})]
    found = tokens(text)
    spans = [token.content for token in found if token.type == "code_inline"]
    assert name in spans
    assert {token.type for token in found} & {"image", "link_open", "html_inline"} == set()
    assert not any("@" in token.content for token in found if token.type == "text")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}


def test_artifacts_without_a_recorded_cost_have_no_row_of_it() -> None:
    (text,) = [shown(u) for u in promotion_updates(serving(Prices()).plan(), {})]
    assert "| `accuracy` | `0.95` | `0.95` |\n" in text
    assert "cost" not in text


def test_a_promotion_from_another_cluster_compares_the_metrics_of_its_status() -> None:
    there = ready("a", "b")
    artifacts = {
        each: replace(found, metrics={"accuracy": 0.9 if each == key("a") else 0.95})
        for each, found in there.artifacts.items()
    }
    there = RemoteObject(phase="Ready", current=artifacts[key("b")], artifacts=artifacts)
    here = other_cluster(FOREIGN % f', key: "{key("a")}"', base=there)
    here.settle()
    (found,) = promotion_updates(here.plan(), {BASE: there})
    assert found.new == key("b")
    assert "| `accuracy` | `0.9` | `0.95` |\n" in found.text
