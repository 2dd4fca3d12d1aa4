"""Curves of several runs over each other: on common axes, told apart, and bounded."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine import Curves, Report
from reconciler.planner import ObjectStatus
from reconciler.planner.object_status import TaskStatus
from reconciler.types import TaskKey
from reconciler.web.comparison import compared_selection
from reconciler.web.curves import MARGIN
from reconciler.web.history import Order
from reconciler.web.overlay import (
    HEIGHT,
    MOST_LINES,
    WIDTH,
    NamedCurves,
    overlay_of,
    runs_of_artifacts,
    runs_of_variants,
)
from reconciler.web.render import Frame, compare_page, object_page
from reconciler.web.selection import Selection
from reconciler.web.snapshot import Catalog
from tests.planner.test_sweeps import end, sweep
from tests.planner.world import World, finetune, model, scratch
from tests.web.catalogs import catalog, world
from tests.web.test_progress import curves
from tests.web.test_render import HOSTILE, Page

FRAME = Frame(cluster="test")


def named(label: str, **values: list[float]) -> NamedCurves:
    return NamedCurves(label=label, href=f"?key={label}#log", curves=curves(**values))


def test_runs_share_their_axes() -> None:
    found = overlay_of([named("a", loss=[0.0, 4.0]), named("b", loss=[2.0, 2.0, 2.0])], "loss")
    a, b = found.lines
    left, right, middle = MARGIN, WIDTH - MARGIN, WIDTH / 2
    assert a.path == f"M{left:.1f} {HEIGHT - MARGIN:.1f} L{middle:.1f} {MARGIN:.1f}"
    half = f"{HEIGHT / 2:.1f}"
    assert b.path == f"M{left:.1f} {half} L{middle:.1f} {half} L{right:.1f} {half}"
    assert (found.low, found.high, found.reach) == ("0", "4", "step 0 to 2")
    assert [line.last for line in found.lines] == ["4", "2"]


def test_where_one_has_no_steps_all_are_by_time() -> None:
    untimed = Curves()
    for number in range(3):
        untimed.add(Report(metrics={"loss": number}), number * 60.0)
    runs = [named("a", loss=[1.0, 2.0]), NamedCurves(label="b", href="#", curves=untimed)]
    assert overlay_of(runs, "loss").reach == "0s to 2m00s"


def test_an_unknown_metric_is_the_first_and_those_without_it_are_counted() -> None:
    runs = [named("a", loss=[1.0], accuracy=[0.5]), named("b", loss=[1.0])]
    assert overlay_of(runs, "nothing").metric == "loss"
    found = overlay_of(runs, "accuracy")
    assert ([line.label for line in found.lines], found.lacking) == (["a"], 1)
    assert found.metrics == ("loss", "accuracy")
    assert overlay_of([], "loss").lines == ()


def test_more_lines_than_can_be_told_apart_are_counted() -> None:
    found = overlay_of([named(str(n), loss=[1.0, 2.0]) for n in range(MOST_LINES + 3)])
    assert (len(found.lines), found.more) == (MOST_LINES, 3)
    assert [line.number for line in found.lines] == list(range(MOST_LINES))


def printed(record: ObjectStatus) -> ObjectStatus:
    """A record whose tasks have each a log."""

    def logged(task: TaskStatus) -> TaskStatus:
        return replace(task, attempts=1, log=f"file:///l/{task.key}/logs/attempt-1.log")

    return replace(record, tasks=tuple(map(logged, record.tasks)))


def swept() -> tuple[Catalog, ObjectStatus]:
    of = World({"m.yaml": sweep("[1, 2, 3]")})
    of.settle(end)
    known = catalog(of)
    record = printed(known.records[model("m")])
    return Catalog(known.plan, {record.ref: record}, ()), record


def test_the_page_of_a_sweep_draws_its_variants_the_best_first() -> None:
    known, record = swept()
    runs = runs_of_variants(record)
    assert [run.label for run in runs] == ["lr=3", "lr=1", "lr=2"]
    keys = {TaskKey(run.log.url.split("/")[-3]) for run in runs if run.log.url is not None}
    assert keys == {variant.key for variant in record.variants}
    found = overlay_of(
        [
            NamedCurves(label=r.label, href=r.href, curves=curves(loss=[2.0, 1.0], acc=[0.1, 0.2]))
            for r in runs
        ],
        "acc",
    )
    html = object_page(FRAME, known, record, order=Order(), log=None, overlay=found)
    page = Page(html)
    labels = [a.get("aria-label") for tag, a in page.elements if tag == "svg"]
    assert "acc of 3 runs, between 0.1 and 0.2, step 0 to 1" in labels
    assert "?curve=loss#overlay" in page.links("?curve")
    assert len(page.links("?task=train&key=")) >= 3
    assert "Curves of the variants" not in object_page(
        FRAME, known, record, order=Order(), log=None
    )


def test_a_comparison_draws_the_artifacts_in_the_order_of_its_rows() -> None:
    of = world(base=scratch("base"), tuned=finetune("tuned", "base"))
    of.settle()
    plain = catalog(of)
    records = {ref: printed(record) for ref, record in plain.records.items()}
    known = Catalog(plain.plan, records, ())
    query = "sort=finished&order=asc&q=a"
    compared = compared_selection(known, Selection.parse(query), query)
    runs = runs_of_artifacts(compared, records)
    rows = [f"{row.name} {row.key[:8]}" for row in compared.found.artifacts]
    assert [run.label for run in runs] == rows
    found = overlay_of(
        [
            NamedCurves(label=r.label, href=r.href, curves=curves(loss=[2.0, 1.0], acc=[0.1, 0.2]))
            for r in runs
        ]
    )
    page = Page(compare_page(FRAME, known, compared, found))
    assert "?q=a&sort=finished&order=asc&curve=acc#overlay" in page.links("?q=a")
    assert all(run.href in page.links("/objects/") for run in runs)


def test_hostile_names_are_text() -> None:
    known, record = swept()
    name = "".join(c for c in HOSTILE if c.isprintable())[:90]
    found = overlay_of([named(HOSTILE, **{name: [1.0, 2.0], "loss": [1.0, 2.0]})], name)
    assert HOSTILE not in object_page(FRAME, known, record, order=Order(), log=None, overlay=found)
