"""How many series objects make at the most, and which have them."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine import Result, RunPhase
from reconciler.metrics import OTHERS, Metrics
from reconciler.planner.phases import Phase
from tests.metrics.many import many
from tests.metrics.watched import GPU, Watched, families, report, value
from tests.planner.world import finetune, scratch
from tests.web.catalogs import fleet

#: Somebody stays: with the last manifest nothing would be removed.
BUCKET = "kind: Dataset\nmetadata: {name: b}\nspec: {source: {bucket: {url: file:///buckets/b}}}\n"


def test_only_so_many_objects_have_series_and_the_urgent_come_first() -> None:
    known = fleet(100)
    metrics = Metrics(objects=15)
    report(metrics, known.plan, known.records)
    (family,) = [f for f in families(metrics) if f.name == "reconciler_object_phase"]
    shown = family.samples
    phases = [sample.labels["phase"] for sample in shown]
    assert len(shown) == 15
    assert set(phases) == {Phase.INVALID, Phase.FAILED}, "ten are Invalid, and five of ten Failed"
    assert value(metrics, "objects_left_out") == 85


def test_the_series_do_not_grow_beyond_the_bound() -> None:
    def series(objects: int) -> int:
        metrics = Metrics()
        report(metrics, *many(objects))
        return sum(len(family.samples) for family in families(metrics))

    few, most, beyond = series(1), series(1_000), series(10_000)
    assert few < 600
    assert most == few + 999 * 10
    assert beyond == most + 1, "the GPU seconds of all others"


def test_gpu_seconds_beyond_the_bound_are_summed_under_one_name() -> None:
    watched = Watched(
        objects=1, base=scratch("base"), a=finetune("a", "base", GPU), b=finetune("b", "base", GPU)
    )
    watched.build()
    watched.world.succeed(watched.run("base"))
    watched.sync()
    for name in ("a", "b"):
        run = watched.run(name)
        watched.world.start(run)
        watched.world.runs[run] = replace(
            watched.world.runs[run],
            phase=RunPhase.SUCCEEDED,
            finished=watched.world.now,
            result=Result(url="file:///x/", gpu_seconds=7.0),
        )
        watched.sync()
    assert watched.value("gpu_seconds_total", kind="Model", namespace="default", name="a") == 7
    assert watched.value("gpu_seconds_total", kind="", namespace="", name=OTHERS) == 7


def test_what_an_object_used_goes_with_it() -> None:
    watched = Watched(a=scratch("a", GPU), b=BUCKET)
    watched.build()
    run = watched.run("a")
    watched.world.start(run)
    watched.wait(5)
    watched.world.fail(run)
    watched.sync()
    labels = {"kind": "Model", "namespace": "default", "name": "a"}
    assert watched.value("gpu_seconds_total", **labels) == 10
    del watched.world.files["a.yaml"]
    watched.sync()
    assert watched.value("gpu_seconds_total", **labels) is None
    assert watched.value("object_phase", **labels, phase="Failed") is None
