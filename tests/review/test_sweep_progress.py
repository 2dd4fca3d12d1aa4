"""A sweep under way says how far it is, in the same words everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from rich.console import Console

from reconciler.cli.table import object_table
from reconciler.engine import Progress
from reconciler.planner import ObjectStatus, Phase, Phases, TaskPhase
from reconciler.review import no_reports, object_progress
from reconciler.status import Sync
from reconciler.status.readme import Readme
from reconciler.status.shards import Shards
from reconciler.web.render import Frame, overview_page, shown_progress
from reconciler.web.selection import Selection
from tests.planner.test_sweeps import built, end, run_with, sweep
from tests.planner.world import START, World, model
from tests.web.catalogs import catalog

MINUTE = timedelta(minutes=1)


def under_way(rates: str = "[1, 2, 3, 4]", *, running: tuple[int, ...] = (2, 3)) -> World:
    """The first variant took 10 minutes; some others have run for 2, and the rest waits."""
    world = built(sweep(rates))
    first = run_with(world, 1)
    world.start(first)
    world.now += 10 * MINUTE
    end(world, first)
    for rate in running:
        world.start(run_with(world, rate))
    world.sync()
    world.now += 2 * MINUTE
    return world


def record(world: World) -> ObjectStatus:
    return world.records[model("m")]


def reported(world: World, percentages: Mapping[int, float]) -> dict[str, Progress]:
    """What the runs of these variants have reported by now."""
    return {
        run_with(world, rate): Progress(
            attempt=0, at=world.now, seconds=120.0, percentage=percentage
        )
        for rate, percentage in percentages.items()
    }


def text(world: World, percentages: Mapping[int, float] | None = None) -> str:
    found = object_progress(record(world), reported(world, percentages or {}).get, world.now)
    assert found is not None
    return found.text


def test_what_has_ended_counts_whole_and_what_runs_as_it_reports() -> None:
    world = under_way()
    assert record(world).phase is Phase.TRAINING
    assert text(world, {2: 50.0, 3: 10.0}).startswith("1/4 variants, 40%")


def test_the_rest_takes_as_long_as_is_reported_or_as_a_variant_took() -> None:
    world = under_way("[1, 2, 3]")
    assert text(world) == "1/3 variants, 33%, 8m00s left", "10 minutes, of which 2 are over"
    assert text(world, {2: 80.0, 3: 10.0}) == "1/3 variants, 63%, 18m00s left", "the slowest"


def test_what_waits_takes_its_turn() -> None:
    world = under_way("[1, 2, 3, 4, 5]", running=(2, 3))
    assert text(world) == "1/5 variants, 20%, 18m00s left", "8 and 8 and 10 and 10, two at a time"


def test_without_a_report_and_a_complete_variant_no_time_is_told() -> None:
    world = built(sweep("[1, 2]"))
    for rate in (1, 2):
        world.start(run_with(world, rate))
    world.sync()
    world.now += MINUTE
    assert text(world) == "0/2 variants, 0%"
    assert text(world, {1: 50.0, 2: 50.0}) == "0/2 variants, 50%, 2m00s left"


def test_a_failed_variant_has_ended() -> None:
    world = under_way("[1, 2, 3]")
    world.fail(run_with(world, 2))
    world.sync()
    assert text(world).startswith("2/3 variants, 67%")


def test_a_sweep_that_does_not_train_has_no_progress() -> None:
    world = built(sweep("[1, 2]"))
    world.settle(end)
    assert object_progress(record(world), now=world.now) is None


def test_table_page_and_readme_have_the_same_words() -> None:
    world = under_way()
    words = "1/4 variants, 25%"
    screen = Console(width=200, record=True, file=None)
    with screen.capture() as printed:
        screen.print(object_table([record(world)], now=world.now))
    assert f"Training {words}, 13m00s left" in printed.get()
    known = catalog(world)
    shown = shown_progress(known.records.values(), no_reports, world.now)
    page = overview_page(Frame(cluster="test"), known, Selection(), shown)
    assert f"{words}, 13m00s left" in page
    sync = Sync(cluster="c", instance="i", path="", head=world.head, observed=START)
    readme = Readme(Shards()).render(sync, world.records, Phases(world.records.values()))
    assert f"| Training {words} |" in readme.decode(), "a time would be wrong by the next look"


def test_a_variant_that_waits_for_its_next_attempt_counts_as_waiting() -> None:
    world = under_way("[1, 2]", running=(2,))
    found = record(world)
    waiting = replace(found.variants[1], phase=TaskPhase.WAITING)
    held = replace(found, variants=(found.variants[0], waiting))
    progress = object_progress(held, now=world.now)
    assert progress is not None
    assert progress.text == "1/2 variants, 50%"
