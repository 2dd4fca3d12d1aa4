"""Curves of a cluster's runs: from memory, and from their bucket for one that begins anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from obstore.store import LocalStore

from reconciler import stores
from reconciler.daemon.kept_curves import KeptCurves
from reconciler.engine import Curves, LogOf, Report
from reconciler.engines.kubernetes import ReportedProgress
from reconciler.engines.local import LocalProgress
from reconciler.types import TaskKind
from tests.planner.world import model

BUCKET = "s3://models/prod"
RUN = "r-m-t-0123456789ab-012345"
LOG = LogOf(
    object=model("m"), task=TaskKind.TRAIN, run=RUN, url=f"{BUCKET}/m/key/logs/attempt-1.log"
)


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a bucket's logs, with those of two attempts, whose server is this disk."""
    disk = LocalStore(tmp_path / "disk", mkdir=True)

    def opened(url: str) -> tuple[LocalStore, str]:
        return disk, unquote(urlsplit(url).path).strip("/")

    monkeypatch.setattr(stores, "_open", opened)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    folder = tmp_path / "disk/prod/m/key/logs"
    folder.mkdir(parents=True)
    for attempt in (1, 2):
        (folder / f"attempt-{attempt}.log").touch()
        keep(folder, attempt, [attempt] * attempt)
    return folder


def keep(folder: Path, attempt: int, values: list[int]) -> None:
    curves = Curves()
    for second, value in enumerate(values):
        curves.add(Report(metrics={"loss": value}), second)
    (folder / f"progress-{attempt}.jsonl").write_text("".join(curves.lines()))


def reader(tmp_path: Path) -> KeptCurves:
    """That of a daemon which has heard of no run."""
    return KeptCurves(ReportedProgress(lambda _: None), LocalProgress(tmp_path), [BUCKET])


def values(curves: Curves | None) -> list[float] | None:
    return None if curves is None else [point.value for point in curves.metrics["loss"]]


async def test_a_daemon_that_begins_anew_has_the_curves_of_each_attempt(
    logs: Path, tmp_path: Path
) -> None:
    kept = reader(tmp_path)
    assert values(await kept.curves(LOG)) == [2, 2]
    assert values(await kept.curves(replace(LOG, attempt=1))) == [1]
    assert await kept.curves(replace(LOG, attempt=3)) is None


async def test_what_pods_report_meanwhile_comes_first(logs: Path, tmp_path: Path) -> None:
    reported = ReportedProgress({RUN: 2}.get)
    kept = KeptCurves(reported, LocalProgress(tmp_path), [BUCKET])
    reported.take(RUN, b'{"metrics": {"loss": 9}}')
    assert values(await kept.curves(LOG)) == [9]
    assert values(await kept.curves(replace(LOG, attempt=1))) == [1]


async def test_a_file_is_read_once_for_all_open_pages(logs: Path, tmp_path: Path) -> None:
    kept = reader(tmp_path)
    first = await kept.curves(LOG)
    keep(logs, 2, [5, 6, 7])
    assert await kept.curves(LOG) is first


@pytest.mark.parametrize("case", ["other bucket", "above", "another name", "no credentials"])
async def test_nothing_else_is_read(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    urls = {
        "other bucket": f"{BUCKET}-secret/m/key/logs/attempt-1.log",
        "above": f"{BUCKET}/../prod/m/key/logs/attempt-1.log",
        "another name": f"{BUCKET}/m/key/logs/weights",
    }
    if case == "no credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    else:
        folder = (tmp_path / "disk" / urlsplit(urls[case]).path.lstrip("/")).parent.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "attempt-1.log").touch()
        keep(folder, 1, [1])
    assert await reader(tmp_path).curves(replace(LOG, url=urls.get(case, LOG.url))) is None


async def test_a_store_that_is_away_leaves_the_page_without_curves(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise OSError("no route to the store")

    monkeypatch.setattr(stores, "_open", away)
    assert await reader(tmp_path).curves(LOG) is None
