"""Progress and curves on the page, in tables and in metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from rich.console import Console

from reconciler.cli.table import object_table
from reconciler.engine import Curves, LogOf, NoTail, Progress, Report
from reconciler.engines.local import LocalProgress
from reconciler.metrics import Metrics
from reconciler.metrics.daemon import MOST_RUN_METRICS
from reconciler.planner import ObjectStatus, Phase, TaskPhase, TaskStatus
from reconciler.types import TaskKind
from reconciler.web.curves import HEIGHT, MOST_DRAWN, WIDTH, Charts, charts_of
from reconciler.web.history import Order
from reconciler.web.render import Frame, ShownLog, object_page, overview_page, shown_progress
from reconciler.web.selection import Selection
from reconciler.web.snapshot import Catalog
from tests.planner.world import model, scratch
from tests.web.catalogs import catalog, world
from tests.web.test_render import FRAME, HOSTILE, Page

NOW = datetime(2026, 11, 29, tzinfo=UTC)
LATEST: Mapping[str, Progress] = {
    "r-m": Progress(
        attempt=1, at=NOW, seconds=60, percentage=42, remaining=200, metrics={"loss": 0.31}
    )
}


def training(attempts: int = 1) -> Catalog:
    """An object m, whose training r-m runs."""
    small = world(m=scratch("m"))
    small.settle()
    known = catalog(small)
    task = TaskStatus(
        task=TaskKind.TRAIN, phase=TaskPhase.RUNNING, job="r-m", attempts=attempts, started=NOW
    )
    record = replace(known.records[model("m")], phase=Phase.TRAINING, tasks=(task,))
    return Catalog(known.plan, {record.ref: record}, ())


def record_of(of: Catalog) -> ObjectStatus:
    (record,) = of.records.values()
    return record


def test_pages_show_percentage_and_remaining_time() -> None:
    of = training()
    found = shown_progress(of.records.values(), LATEST.get, NOW)
    overview = Page(overview_page(FRAME, of, Selection(), found))
    single = Page(object_page(FRAME, of, record_of(of), order=Order(), log=None, progress=found))
    for page in (overview, single):
        assert "42%, 3m20s left" in page.text
        (bar,) = [attributes for tag, attributes in page.elements if tag == "progress"]
        assert (bar["max"], bar["value"]) == ("100", "42.0")


def test_an_earlier_attempts_progress_is_not_that_of_the_present_one() -> None:
    assert not shown_progress(training(attempts=2).records.values(), LATEST.get, NOW)


def test_a_task_that_does_not_run_has_no_progress() -> None:
    record = record_of(training())
    ended = replace(record, phase=Phase.READY)
    assert not shown_progress([ended], LATEST.get, NOW)


def text_of(bars: bool) -> str:
    screen = Console(width=200, record=True, file=None)
    with screen.capture() as captured:
        records = training().records.values()
        screen.print(object_table(records, now=NOW, latest=LATEST.get, bars=bars))
    return captured.get()


def test_a_table_has_the_phase_with_percentage_and_remaining_time() -> None:
    assert "Training 42%, 3m20s left" in text_of(bars=False)


def test_a_table_that_is_drawn_anew_has_a_bar() -> None:
    assert "Training ████░░░░░░ 42%, 3m20s left" in text_of(bars=True)


def scraped(latest: Mapping[str, Progress]) -> str:
    of = training()
    metrics = Metrics(latest=latest.get)
    metrics._objects.update(of.records, {}, priced=False)
    return generate_latest(metrics.registry).decode()


def test_a_scrape_has_the_progress_of_runs() -> None:
    text = scraped({"r-m": replace(LATEST["r-m"], at=datetime.now(UTC), remaining=None)})
    labels = 'kind="Model",name="m",namespace="default"'
    assert f"reconciler_run_progress_ratio{{{labels}}} 0.42" in text
    assert f"reconciler_run_remaining_seconds{{{labels}}} 8" in text
    assert (
        'reconciler_run_metric{kind="Model",metric="loss",name="m",namespace="default"} 0.31'
        in text
    )


def test_the_names_of_a_runs_metrics_are_bounded() -> None:
    many = replace(LATEST["r-m"], metrics={f"m{number}": number for number in range(100)})
    text = scraped({"r-m": many})
    assert text.count("reconciler_run_metric{") == MOST_RUN_METRICS


def curves(**values: list[float]) -> Curves:
    found = Curves()
    for number in range(max(map(len, values.values()))):
        metrics = {name: each[number] for name, each in values.items() if number < len(each)}
        found.add(Report(step=number, metrics=metrics), number * 2.0)
    return found


def page_with(charts: Charts) -> Page:
    of = training()
    log = ShownLog(task=TaskKind.TRAIN, attempt=1, where="", found=NoTail("none"), charts=charts)
    return Page(object_page(Frame(cluster="c"), of, record_of(of), order=Order(), log=log))


def test_the_page_draws_a_curve_of_each_metric() -> None:
    page = page_with(charts_of(curves(loss=[2, 1, 0.5], accuracy=[0.25, 0.5, 0.75])))
    labels = [a.get("aria-label") for tag, a in page.elements if tag == "svg"]
    assert "loss: 0.5 now, between 0.5 and 2, step 0 to 2" in labels
    assert "accuracy: 0.75 now, between 0.25 and 0.75, step 0 to 2" in labels


def test_a_curve_goes_through_its_points() -> None:
    (chart,) = charts_of(curves(loss=[0, 1, 2])).drawn
    middle = f"{WIDTH / 2:.1f} {HEIGHT / 2:.1f}"
    assert chart.path == f"M4.0 {HEIGHT - 4:.1f} L{middle} L{WIDTH - 4:.1f} 4.0"


def test_without_steps_a_curve_is_by_time() -> None:
    found = Curves()
    for number in range(3):
        found.add(Report(metrics={"loss": number}), number * 60.0)
    (chart,) = charts_of(found).drawn
    assert chart.reach == "0s to 2m00s"


def test_metrics_that_are_not_drawn_are_counted() -> None:
    found = charts_of(curves(**{f"m{number}": [1.0] for number in range(MOST_DRAWN + 3)}))
    assert (len(found.drawn), found.more) == (MOST_DRAWN, 3)
    assert "3 more metrics" in page_with(found).text


def test_a_metrics_name_is_text() -> None:
    name = "".join(c for c in HOSTILE if c.isprintable())[:90]
    page = page_with(charts_of(curves(**{name: [1.0, 2.0]})))
    assert not [tag for tag, _ in page.elements if tag in ("script", "img")] or all(
        a.get("src") != "x" for tag, a in page.elements if tag == "img"
    )
    assert "alert(1)" in page.text


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_every_finite_number_can_be_drawn(values: list[float]) -> None:
    (chart,) = charts_of(curves(loss=values)).drawn
    assert "nan" not in chart.path
    assert "inf" not in chart.path
    assert 0 <= chart.y <= HEIGHT


def log_at(folder: Path) -> LogOf:
    url = (folder / "attempt-1.log").as_uri()
    return LogOf(object=model("m"), task=TaskKind.TRAIN, url=url)


def read(root: Path, log: LogOf) -> Curves | None:
    return asyncio.run(LocalProgress(root).curves(log))


def test_curves_beside_a_log_are_read(tmp_path: Path) -> None:
    (tmp_path / "progress-1.jsonl").write_text("".join(curves(loss=[1, 2]).lines()))
    (tmp_path / "progress-2.jsonl").write_text("".join(curves(loss=[3]).lines()))
    found = read(tmp_path, log_at(tmp_path))
    assert found is not None
    assert len(found.metrics["loss"]) == 2
    other = read(tmp_path, replace(log_at(tmp_path), attempt=2))
    assert other is not None
    assert len(other.metrics["loss"]) == 1


@pytest.mark.parametrize("make", ["outside", "link", "folder", "nothing"])
def test_nothing_else_is_read(tmp_path: Path, make: str) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in (root, elsewhere):
        folder.mkdir()
    (elsewhere / "progress-1.jsonl").write_text("".join(curves(loss=[1, 2]).lines()))
    if make == "link":
        (root / "progress-1.jsonl").symlink_to(elsewhere / "progress-1.jsonl")
    if make == "folder":
        (root / "progress-1.jsonl").mkdir()
    assert read(root, log_at(elsewhere if make == "outside" else root)) is None


@pytest.mark.parametrize("run", ["", "..", "../runs/r-m", "r-m/..", "R"])
def test_a_name_that_is_no_runs_has_no_progress(tmp_path: Path, run: str) -> None:
    assert LocalProgress(tmp_path).latest(run) is None
