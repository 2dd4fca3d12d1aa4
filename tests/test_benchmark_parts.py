"""Each part of ``make bench``, as small as it can be: it measures what it says."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from benchmarks import (
    argocd,
    dependents,
    idle,
    job_end,
    many_events,
    many_finished,
    one_change,
    push_to_job,
    second_build,
    staged_copies,
    status_push,
)
from benchmarks.__main__ import LONG_PARTS, PARTS
from benchmarks.figures import Figure
from benchmarks.installation import settle
from benchmarks.staged_copies import Shape
from tests.cluster.build import built
from tests.engines.kubernetes.container import need_busybox


def by_name(*figures: Figure) -> Mapping[str, Figure]:
    """Figures by their names, of which each has rounds that took something."""
    assert all(beside > 0 for each in figures for _, beside in each.rounds)
    return {each.name: each for each in figures}


def test_no_part_is_named_twice() -> None:
    assert not PARTS.keys() & LONG_PARTS.keys()


def test_a_daemon_that_does_not_rest_is_given_up() -> None:
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as busy:
        try:
            with pytest.raises(AssertionError, match="to rest"):
                settle(busy.pid, patience=0.0)
        finally:
            busy.kill()


def test_a_push_of_ten_statuses_writes_no_more_than_shards_with_them() -> None:
    found = by_name(*status_push.measure(files=1_100, rounds=1))
    assert found.keys() == {"status.cpu", "status.cpu.git", "status.trees"}
    ((trees, flat),) = found["status.trees"].rounds
    assert 0 < trees < flat
    assert found["status.cpu"].values < found["status.cpu.git"].values


def test_a_base_is_planned_with_its_dependents() -> None:
    (figure,) = dependents.measure(dependents=3, rounds=1)
    assert figure.title == "plan, a base of 3 dependents"
    assert len(figure.rounds) == 1


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_start_with_finished_models_creates_nothing() -> None:
    found = by_name(*many_finished.measure(models=3, rounds=1))
    assert found.keys() == {"finished.cpu", "finished.peak"}


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_daemon_without_work_looks_refs_up_once_a_poll_and_asks_for_nothing() -> None:
    found = by_name(*idle.measure(models=3, rounds=1, seconds=4.0))
    ((lookups, polls),) = found["idle.lookups"].rounds
    assert abs(lookups - polls) <= 1, "a poll at an edge of the window has its look-up beyond it"
    assert found["idle.requests"].values == [0]
    assert found["idle.day"].ratio > 0


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_jobs_that_change_at_once_are_in_the_status() -> None:
    (figure,) = many_events.measure(models=3, rounds=2)
    assert by_name(figure)["events"].ratio > 1


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_one_change_is_measured_among_few_and_among_many() -> None:
    found = by_name(*one_change.measure(few=2, many=3, rounds=1, changes=1))
    assert found.keys() == {"change.2", "change.2.own", "change.3"}


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_pushes_become_jobs() -> None:
    found = by_name(*push_to_job.measure(pushes=2, rounds=1))
    assert len(found["push"].rounds) == 2
    assert len(found["push.p95"].rounds) == 1


@pytest.mark.node
@pytest.mark.timeout(600)
def test_staged_files_go_out_and_come_back() -> None:
    need_busybox()
    figures = staged_copies.measure([Shape("tiny", "3 of 10 KB", 3, 10_000)], rounds=1)
    assert by_name(*figures).keys() == {"copies.tiny.out", "copies.tiny.back"}


@pytest.mark.node
@pytest.mark.timeout(900)
def test_a_job_is_complete_after_its_command() -> None:
    found = by_name(*job_end.measure(rounds=1))
    assert found.keys() == {"end.direct", "end.staged"}
    assert all(value > 0 for each in found.values() for value in each.values)


@pytest.mark.node
@pytest.mark.timeout(900)
def test_a_second_build_is_measured_beside_the_first() -> None:
    found = by_name(*second_build.measure(size=1, rounds=1, kinds=["link"]))
    assert found.keys() == {"build.link"}


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_engine_of_argo_cd_creates_the_same_jobs_and_none_again() -> None:
    if "agent" not in built("gitops-engine"):
        pytest.skip("it is not built; make bench PARTS=argocd does that")
    found = by_name(*argocd.measure(models=3, rounds=1))
    assert {"argocd.wall", "argocd.still.wall", "argocd.peak"} <= found.keys()
