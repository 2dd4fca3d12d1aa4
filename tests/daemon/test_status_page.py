"""What a replica that stands by says of the leader's last sync."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.config import Setup, load_setup
from reconciler.daemon.status_page import LastSync
from reconciler.status import SYNC_FILE, Sync, dump_sync
from reconciler.types import Commit
from reconciler.workspace import status_branch
from tests.e2e.site import Site


def setup_of(folder: Path) -> Setup:
    return load_setup(Site(folder).root / "reconciler.yaml", {})


def record(setup: Setup, observed: datetime) -> None:
    """Push a sync, as a leader does."""
    head = Commit("c0ffee" + "0" * 34)
    sync = Sync(cluster="local", instance="i", path="", head=head, observed=observed)
    branch = status_branch(setup, setup.root / "git" / "leader")
    branch.fetch()
    branch.push({SYNC_FILE: dump_sync(sync)}, "status")


async def test_a_standby_says_how_old_the_last_sync_is(tmp_path: Path) -> None:
    setup = setup_of(tmp_path)
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2, hours=3, minutes=1)
    record(setup, at)
    told = await LastSync(setup).told()
    assert f"{at:%Y-%m-%d %H:%M} UTC, 2d3h ago, of commit c0ffee0000" in told


async def test_a_standby_without_a_status_branch_says_so(tmp_path: Path) -> None:
    assert "there is no status branch" in await LastSync(setup_of(tmp_path)).told()


async def test_a_standby_says_why_the_last_sync_is_not_known(tmp_path: Path) -> None:
    setup = setup_of(tmp_path)
    away = setup.config.repository.model_copy(update={"url": str(tmp_path / "gone")})
    config = setup.config.model_copy(update={"repository": away})
    told = await LastSync(replace(setup, config=config)).told()
    assert told.startswith("The time of the last sync is not known: ")
