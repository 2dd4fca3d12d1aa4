"""Pages as text: what is asked for, in bounds, with everything that people wrote as text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine import NoTail
from reconciler.planner.object_status import Condition, HistoryEntry, ObjectStatus
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.prices import Prices
from reconciler.types import Location, Problem, TaskKey, TaskKind
from reconciler.web import render
from reconciler.web.comparison import compared_selection
from reconciler.web.history import Order
from reconciler.web.overlay import MOST_LINES
from reconciler.web.render import (
    MOST_NODES,
    Frame,
    ShownLog,
    compare_page,
    message_page,
    object_page,
    overview_page,
)
from reconciler.web.selection import ROWS, Selection, listed
from reconciler.web.snapshot import Catalog, PageCache
from reconciler.web.terminal import terminal_output
from tests.planner.test_cost_holds import an_hour
from tests.planner.world import START, finetune, model, scratch
from tests.web.catalogs import catalog, fleet, world

FRAME = Frame(cluster="test")
HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %} \u202egnp"
    " \x1b[2J\x00 &lt; ]]> --> </pre></textarea>"
)


class Page(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self, prefix: str) -> list[str]:
        found = [attrs.get("href") or "" for tag, attrs in self.elements if tag == "a"]
        return [link for link in found if link.startswith(prefix)]


def overview(of: Catalog, query: str = "", frame: Frame = FRAME) -> Page:
    return Page(overview_page(frame, of, Selection.parse(query)))


def shown(of: Catalog, record: ObjectStatus, log: ShownLog | None = None) -> Page:
    return Page(object_page(FRAME, of, record, order=Order(), log=log))


def test_an_overview_and_an_object_of_ten_thousand_are_bounded() -> None:
    everything = fleet(10_000)
    html = overview_page(FRAME, everything, Selection())
    assert len(html.encode()) < 200_000
    page = Page(html)
    assert len([tag for tag, _ in page.elements if tag == "tr"]) == ROWS + 1
    assert len([tag for tag, _ in page.elements if tag == "rect"]) <= MOST_NODES
    assert "1\u2013100 of 10000" in page.text
    hub = next(record for record in everything.ordered if record.ref.name == "base")
    html = object_page(FRAME, everything, hub, order=Order(), log=None)
    assert len(html.encode()) < 100_000
    assert f"{10_000 - MOST_NODES} more are not drawn" in Page(html).text


def test_every_object_of_a_large_fleet_is_on_one_page() -> None:
    everything = fleet(450)
    pages = [listed(everything, Selection(page=number)) for number in range(1, 6)]
    seen = [record.ref for page in pages for record in page.rows]
    assert sorted(seen) == sorted(everything.records)
    assert listed(everything, Selection(page=99)).selection.page == 5


def test_what_needs_somebody_comes_first() -> None:
    phases = [record.phase for record in fleet(40).ordered]
    assert phases[0] is Phase.INVALID
    assert phases[-1] is Phase.READY


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 31),
        ("phase=Failed", 3),
        ("phase=Failed&phase=Held", 5),
        ("namespace=team-1", 10),
        ("kind=Dataset", 0),
        ("q=MODEL-0000", 10),
        ("q=why", 30),
        ("phase=Nonsense&kind=Pod&page=-1", 31),
        ("&" * 1000, 31),
    ],
)
def test_a_query_selects(query: str, count: int) -> None:
    assert len(listed(fleet(31), Selection.parse(query)).found) == count


@given(st.text(max_size=60))
def test_whatever_the_query_the_page_is_whole_and_its_links_ask_for_what_they_say(
    text: str,
) -> None:
    selection = Selection.parse(text)
    again = Selection.parse(selection.href.partition("?")[2])
    assert again == selection


def test_hostile_text_is_text_wherever_it_stands() -> None:
    of = world(base=scratch("base"), tuned=finetune("tuned", "base"))
    of.settle()
    known = catalog(of)
    record = known.records[model("tuned")]
    entry = HistoryEntry(
        task=TaskKind.TRAIN,
        key=TaskKey("0" * 40),
        phase=TaskPhase.FAILED,
        params={HOSTILE: HOSTILE, "nested": {"a": [HOSTILE]}},
        metrics={HOSTILE: 1.0},
        message=HOSTILE,
    )
    condition = Condition(type=HOSTILE, status="True", reason=HOSTILE, message=HOSTILE, since=START)
    tasks = tuple(replace(t, message=HOSTILE, job=HOSTILE) for t in record.tasks)
    record = replace(
        record,
        phase=Phase.FAILED,
        reason=HOSTILE,
        message=HOSTILE,
        image=HOSTILE,
        tasks=tasks,
        conditions=(condition,),
        history=(*record.history, entry),
    )
    problem = Problem(Location(HOSTILE, 1, 1), HOSTILE, HOSTILE, record.ref)
    hostile = Catalog(known.plan, {**known.records, record.ref: record}, [problem])
    log = ShownLog(
        task=TaskKind.TRAIN,
        attempt=1,
        where=HOSTILE,
        found=terminal_output(HOSTILE.encode() * 3, whole=True),
    )
    frame = Frame(cluster="test", troubles=[HOSTILE])
    gone = ShownLog(task=TaskKind.TRAIN, attempt=1, where="", found=NoTail(HOSTILE))
    pages = [
        overview(hostile, frame=frame),
        overview(hostile, "q=" + HOSTILE),
        shown(hostile, record, log),
        shown(hostile, record, gone),
        Page(message_page(frame, "Not found", HOSTILE)),
    ]
    allowed = {tag for tag, _ in overview(known).elements + shown(known, record).elements} | {"pre"}
    for page in pages:
        assert {tag for tag, _ in page.elements} <= allowed | {"mark", "small"}
        assert [a["src"] for t, a in page.elements if t == "script"] == ["/static/page.js"]
        for _, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert "\u202e" not in page.text
        assert "\x1b" not in page.text
        assert not re.search(r"\b49\b", page.text)
    assert "<script>alert(1)</script>" in pages[2].text


def test_a_held_sync_shows_what_would_release_it() -> None:
    of = world(**{f"m{n}": scratch(f"m{n}") for n in range(3)})
    of.settle()
    of.files.clear()
    held = catalog(of)
    (hold,) = held.plan.holds
    assert f"echo {hold.id} >> .reconciler/release" in overview(held).text
    assert hold.id in shown(held, held.records[model("m1")]).text


def test_an_error_is_told_with_its_place_and_its_object() -> None:
    of = world(m=scratch("m"))
    of.settle()
    problem = Problem(Location("models/m.yaml", 7, 3), "spec.source", "is missing", model("m"))
    other = Problem(Location("models/n.yaml", 1, 1), "", "is no YAML", model("n"))
    page = overview(catalog(of, [problem, other]))
    assert "2 errors in manifests" in page.text
    assert "models/m.yaml:7:3" in page.text
    assert page.links("/objects/default/models/n") == []


def test_errors_beyond_what_anybody_reads_are_counted() -> None:
    of = world(m=scratch("m"))
    problems = [Problem(Location(f"{n}.yaml", 1, 1), "", "is wrong") for n in range(500)]
    page = overview(catalog(of, problems))
    assert "500 errors" in page.text
    assert "and 450 more" in page.text


def test_an_object_shows_what_it_waits_for() -> None:
    of = world(base=scratch("base"), tuned=finetune("tuned", "base"))
    of.trees["./src/base"] = "unreachable"
    known = catalog(of)
    page = shown(known, known.records[model("tuned")])
    assert "State" in page.text
    assert "train of Model default/base" in page.text


def test_the_graph_shows_whole_families_and_counts_who_stands_alone() -> None:
    family = world(base=scratch("base"), tuned=finetune("tuned", "base"), alone=scratch("alone"))
    page = overview(catalog(family))
    assert len([tag for tag, _ in page.elements if tag == "rect"]) == 2
    assert "1 stands alone" in page.text


def test_a_sync_that_changes_nothing_moves_no_version() -> None:
    of, cache = world(m=scratch("m")), PageCache()
    of.settle()
    assert cache.catalog() is None
    cache.update(of.sync(), of.records, ())
    first = cache.catalog()
    version = cache.version
    cache.update(of.sync(), of.records, ())
    assert cache.catalog() is first
    assert cache.version == version
    of.files["n.yaml"] = scratch("n")
    cache.update(of.sync(), of.records, ())
    assert cache.catalog() is not first
    assert cache.version == version + 1
    cache.clear()
    assert cache.catalog() is None


def test_the_params_of_a_training_that_is_not_complete_are_shown() -> None:
    of = world(m=scratch("m", ", timeout: 1h").replace("epochs: 3", "epochs: 3, rate: 0.001"))
    of.sync()
    of.succeed(of.run_of("m", TaskKind.BUILD))
    of.sync()
    of.start(of.run_of("m", TaskKind.TRAIN))
    text = Page(object_html(catalog(of))).text
    assert "Params of the training" in text
    assert re.search(r"rate\s*0\.001", text)
    of.settle()
    assert "Params of the training" not in Page(object_html(catalog(of))).text


def object_html(of: Catalog) -> str:
    return object_page(FRAME, of, of.records[model("m")], order=Order(), log=None)


def test_each_page_has_the_time_of_the_last_sync() -> None:
    of = catalog(world(m=scratch("m")))
    frame = Frame(cluster="test", synced=START)
    for html in (
        overview_page(frame, of, Selection()),
        object_page(frame, of, of.records[model("m")], order=Order(), log=None),
    ):
        assert "last sync 2026-01-01 00:00 UTC" in " ".join(Page(html).text.split())


def test_every_style_is_of_something_that_a_page_has() -> None:
    web = Path(render.__file__).parent
    styled = set(
        re.findall(r"\.([a-zA-Z][\w-]*)(?=[^{}]*\{)", (web / "static/page.css").read_text())
    )
    files = [*web.glob("templates/*.html"), *web.glob("static/*.js"), *web.glob("*.py")]
    written = {word for file in files for word in re.findall(r"[a-zA-Z][\w-]*", file.read_text())}
    made = {phase.lower() for phase in (*Phase, *TaskPhase)} | {f"depth-{n}" for n in range(7)}
    made |= {f"line{n}" for n in range(MOST_LINES)}
    assert styled - written - made == set()


def compared_page(known: Catalog, query: str = "") -> str:
    return compare_page(FRAME, known, compared_selection(known, Selection.parse(query), query))


def test_a_comparison_has_a_row_for_each_artifact_of_the_selected_objects() -> None:
    of = world(base=scratch("base"), tuned=finetune("tuned", "base"))
    of.settle()
    known = catalog(of)
    all_of_them = Page(compared_page(known))
    assert set(all_of_them.links("/objects/")) == {
        f"/objects/default/models/{name}" for name in ("base", "tuned")
    }
    one = Page(compared_page(known, "q=tuned&sort=nothing"))
    assert one.links("/objects/") == ["/objects/default/models/tuned"]
    assert "/compare?q=tuned&sort=duration" in one.links("/compare")
    assert "No artifact" in Page(compared_page(known, "q=x")).text


def test_a_comparison_has_subjects_of_commits_and_estimated_costs_with_their_currency() -> None:
    of = world(base=scratch("base", ", resources: {cpu: 1}"))
    of.settings = replace(of.settings, prices=Prices(currency="EUR", cpu=2.0))
    of.settle(an_hour)
    known = catalog(of)
    compared = compared_selection(known, Selection.parse(""), "")
    (commit,) = compared.found.commits()
    page = Page(compare_page(FRAME, known, compared.with_subjects({commit: "<b>Train</b> longer"})))
    assert f"{commit[:8]} <b>Train</b> longer" in page.text
    assert "Cost (estimate)" in page.text
    assert "EUR 2.00" in page.text
    unknown = Page(compare_page(FRAME, known, compared.with_subjects({})))
    assert commit[:8] in unknown.text
    assert "longer" not in unknown.text


def test_hostile_text_is_text_in_a_comparison() -> None:
    of = world(base=scratch("base"))
    of.settle()
    known = catalog(of)
    record = known.records[model("base")]
    made = [
        replace(entry, params={HOSTILE: HOSTILE}, metrics={HOSTILE: 1.0})
        for entry in record.history
    ]
    other = replace(made[-1], key=TaskKey("0" * 40), params={HOSTILE: 1})
    changed = replace(record, history=(*made, other))
    html = compared_page(Catalog(known.plan, {record.ref: changed}, []))
    assert HOSTILE not in html
