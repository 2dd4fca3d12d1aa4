"""A metric reads the same wherever it is shown, as its author would write it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from reconciler.cli.status import _history_table, _Order
from reconciler.cli.table import object_table
from reconciler.engine import ResultWarning
from reconciler.planner import ObjectStatus, Phases, Prices, status_path
from reconciler.review import format_number, render_markdown, review
from reconciler.status.encoding import Sync, dump_record, load_record
from reconciler.status.readme import Readme
from reconciler.status.shards import Shards
from reconciler.types import Commit, Metrics
from reconciler.web.history import Order
from reconciler.web.render import Frame, object_page, overview_page
from reconciler.web.selection import Selection
from reconciler.web.snapshot import Catalog
from tests.planner.world import World, model, scratch

METRICS: Metrics = {"steps": 44650, "accuracy": 0.99996}
WARNING = ResultWarning("MetricsIgnored", 'metrics.json: 1 of 3 values are ignored: "loss" is NaN')


def trained() -> World:
    """A Model whose training left METRICS, as a daemon reads it back from Git."""
    world = World({"a.yaml": scratch("a")})

    def succeed(world: World, name: str) -> None:
        world.succeed(name)
        run = world.runs[name]
        if run.result is not None and run.result.url is not None:
            done = replace(run.result, metrics=METRICS, warnings=(WARNING,))
            world.runs[name] = replace(run, result=done)

    world.settle(succeed)
    ref = model("a")
    world.records[ref] = load_record(status_path(ref), dump_record(world.records[ref]))
    return world


def printed(shown: object) -> str:
    console = Console(width=500, file=io.StringIO(), record=True)
    console.print(shown)
    return console.export_text()


def readme(record: ObjectStatus) -> str:
    sync = Sync(
        cluster="local", instance="i", path="", head=Commit("a" * 40), observed=datetime.now(UTC)
    )
    text = Readme(Shards()).render(sync, {record.ref: record}, Phases([record])).decode()
    return text.replace("\\", "")


def page(of: World) -> str:
    record = of.records[model("a")]
    catalog = Catalog(of.plan(), dict(of.records), ())
    return object_page(Frame(cluster="c"), catalog, record, order=Order(), log=None)


def history(record: ObjectStatus) -> str:
    return printed(_history_table([record], _Order(), Prices()))


def pull_request(of: World) -> str:
    """A change back to what was trained: it costs nothing."""
    of.files["a.yaml"] = scratch("a").replace("epochs: 3", "epochs: 5")
    of.settle()
    before = of.plan()
    of.files["a.yaml"] = scratch("a")
    return render_markdown(review(of.plan(), before=before, errors=()))


SHOWN: dict[str, Callable[[World], str]] = {
    "table": lambda of: printed(object_table([of.records[model("a")]])),
    "history": lambda of: history(of.records[model("a")]),
    "readme": lambda of: readme(of.records[model("a")]),
    "page": page,
    "pull request": pull_request,
}


@pytest.mark.parametrize("where", SHOWN)
def test_a_metric_reads_the_same_everywhere(where: str) -> None:
    text = SHOWN[where](trained())
    assert "0.99996" in text
    if where != "table":  # which has one metric, the accuracy
        assert "44650" in text
    assert "44650.0" not in text


@pytest.mark.parametrize("where", ["table", "readme", "page"])
def test_what_is_ignored_of_the_metrics_is_told_of_a_ready_object(where: str) -> None:
    assert "is NaN" in SHOWN[where](trained())


def test_an_overview_tells_it_too() -> None:
    of = trained()
    catalog = Catalog(of.plan(), dict(of.records), ())
    assert "is NaN" in overview_page(Frame(cluster="c"), catalog, Selection.parse(""))


def test_integers_stay_integers_in_git() -> None:
    text = dump_record(trained().records[model("a")]).decode()
    assert "steps: 44650\n" in text
    assert "accuracy: 0.99996\n" in text


def test_a_condition_outlives_the_daemon() -> None:
    of = trained()
    later = World(files=of.files, records=of.records, now=of.now)
    for record in of.records.values():
        later.ledger.learn_record(record)
    later.sync()
    conditions = {c.type: (c.status, c.message) for c in later.records[model("a")].conditions}
    assert conditions["MetricsIgnored"] == ("True", WARNING.message)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (44650, "44650"),
        (44650.0, "44650"),
        (0.99996, "0.99996"),
        (0.9999996, "0.9999996"),
        (0.8571428571428571, "0.857143"),
        (0.1 + 0.2, "0.3"),
        (1234567.8, "1234567.8"),
        (3, "3"),
        (0, "0"),
        (-0.5, "-0.5"),
        (1e-5, "1e-5"),
        (1.5e-7, "1.5e-7"),
        (0.0001, "0.0001"),
        (2**53 - 1, "9007199254740991"),
        (1e20, "1e20"),
    ],
)
def test_a_number_is_written_as_people_write_it(number: float, text: str) -> None:
    assert format_number(number) == text
