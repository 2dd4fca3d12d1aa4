"""The page of a sweep: a row for each variant, with its log."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine import NoTail
from reconciler.metrics import Metrics
from reconciler.planner.phases import TaskPhase
from reconciler.review import shown_message
from reconciler.status.encoding import dump_record, load_record
from reconciler.status.own_branch import read_own_file
from reconciler.types import TaskKey, TaskKind
from reconciler.web.history import Order
from reconciler.web.render import Frame, ShownLog, object_page
from reconciler.web.sweeps import ROWS, shown_sweep
from tests.metrics.watched import report, value
from tests.planner.test_sweeps import built, end, run_with, sweep
from tests.planner.world import World, model
from tests.web.catalogs import catalog

FRAME = Frame(cluster="test")


def trained() -> World:
    """A sweep of which one is best, one is complete and one has failed."""
    world = built(sweep("[1, 2, 3]"))
    world.fail(run_with(world, 3))
    world.settle(end)
    return world


def test_each_variant_has_a_row_and_the_best_is_marked() -> None:
    world = trained()
    known, record = catalog(world), world.records[model("m")]
    printed = tuple(replace(task, attempts=1) for task in record.tasks)
    record = replace(record, tasks=printed)
    log = ShownLog(
        task=TaskKind.TRAIN, key=record.desired, attempt=1, where="", found=NoTail("It is gone.")
    )
    html = object_page(FRAME, known, record, order=Order(), log=log)
    variants = html.partition('id="variants"')[2].partition("</section>")[0]
    assert variants.count("<tr") == 5, "a head, three variants, and the message of one"
    assert variants.count(">Best<") == 1
    assert "the command exited with 1" in variants
    for variant in record.variants:
        assert f"?task=train&amp;key={variant.key}#log" in variants
    tasks = html.partition('id="tasks"')[2].partition("</section>")[0]
    assert ">train<" not in tasks, "its trainings are in a table of their own"
    logs = html.partition('aria-label="Logs"')[2].partition("</nav>")[0]
    assert f"train {(record.desired or '')[:12]}" in logs


def test_the_page_of_the_largest_sweep_is_bounded() -> None:
    world = trained()
    known, record = catalog(world), world.records[model("m")]
    many = tuple(
        replace(record.variants[0], key=TaskKey(f"{n:040x}"), params={f"p{n}": "x" * 9000})
        for n in range(256)
    )
    record = replace(record, variants=many)
    found = shown_sweep(record)
    assert (len(found.rows), found.more) == (ROWS, 156)
    assert len(object_page(FRAME, known, record, order=Order(), log=None)) < 200_000


def test_a_list_counts_the_variants() -> None:
    record = trained().records[model("m")]
    assert shown_message(record) == (
        "3 variants: 2 complete, 1 failed; "
        "1 of 3 variants failed; the first: the command exited with 1"
    )


def test_a_status_file_keeps_the_variants() -> None:
    record = trained().records[model("m")]
    assert load_record("m.yaml", dump_record(record)) == record


def test_of_a_status_file_only_what_can_be_of_a_matrix_is_believed() -> None:
    record = trained().records[model("m")]
    wrong = replace(record.variants[0], artifact="javascript:alert(1)")
    data = dump_record(replace(record, variants=(wrong, *record.variants * 100)))
    found = read_own_file("default/models/m.yaml", data, None)
    assert found is not None
    assert found.record is not None
    assert len(found.record.variants) == 255
    assert "status.variants" in [fault.field for fault in found.faults]


def test_metrics_count_variants_by_phase_and_sum_their_attempts() -> None:
    world, metrics = trained(), Metrics()
    report(metrics, world.sync(), world.records)
    labels = {"kind": "Model", "namespace": "default", "name": "m"}
    assert value(metrics, "object_variants", **labels, phase=TaskPhase.SUCCEEDED.value) == 2
    assert value(metrics, "object_variants", **labels, phase=TaskPhase.FAILED.value) == 1
    assert value(metrics, "object_task_attempts", **labels, task="train") == 3
