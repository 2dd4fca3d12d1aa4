"""``cancel --now`` ends a run on this machine, and what holds then is said and remembered."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.e2e.site import Site, git, until

#: A training that goes on until its test lets it, and keeps what it did before.
HELD = 'echo step >> "$MODEL_DIR/steps"\nuntil test -e "$GATE"; do sleep 0.05; done\n'


@pytest.fixture
def site(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path)
    gate = site.root / "gate"
    site.trained("slow", HELD.replace("$GATE", str(gate)))
    site.push()
    monkeypatch.chdir(site.root)
    return site


def runs(site: Site) -> bool:
    return bool(site.ledger.read_text())


def retry(site: Site, cli: Cli) -> None:
    git(site.work, "config", "user.name", "Test")
    git(site.work, "config", "user.email", "test@localhost")
    cli("retry", "slow", "--commit", "--repo", str(site.work), code=0)
    git(site.work, "push", "--quiet", "origin", "main")


def test_a_run_is_ended_under_the_daemon_and_stays_so_until_a_retry(site: Site, cli: Cli) -> None:
    with site.running():
        until(lambda: runs(site), what="the training")
        said = cli("cancel", "slow", "--now", "--reason", "wrong data", code=0)
        assert "train" in said.out
        assert "was ended; what its command has left stays" in said.out
        assert "reconciler retry slow --commit" in said.out
        until(lambda: site.phases().get("slow") == "Failed", what="the status")
    told = site.told("slow")
    assert f"{getpass.getuser()} ended it by `reconciler cancel --now` on 20" in told
    assert " UTC: wrong data" in told
    assert site.statuses()["slow"]["reason"] == "EndedByUser"
    assert site.ran() == {"slow": 1}
    assert site.run_once().returncode == 1
    assert site.ran() == {}
    git(site.work, "fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*")
    (site.root / "gate").touch()
    retry(site, cli)
    assert site.run_once().returncode == 0
    assert site.ran() == {"slow": 1}
    assert (site.artifact("slow") / "steps").read_text() == "step\nstep\n"


def test_without_a_daemon_the_run_is_ended_and_the_next_sync_knows(site: Site, cli: Cli) -> None:
    with site.running():
        until(lambda: runs(site), what="the training")
    key = next(iter(site.started()))[1]
    cli("cancel", key[:12], "--now", code=0)
    site.ran()
    assert site.run_once().returncode == 1
    assert site.statuses()["slow"]["reason"] == "EndedByUser"
    assert site.ran() == {}


def test_where_nothing_runs_it_says_so_and_changes_nothing(site: Site, cli: Cli) -> None:
    (site.root / "gate").touch()
    assert site.run_once().returncode == 0
    before = git(site.remote, "for-each-ref")
    said = cli("cancel", "slow", "--now", code=1)
    assert "no load, training or evaluation of Model default/slow runs below" in said.err
    assert "no object is called slw" in cli("cancel", "slw", "--now", code=1).err
    assert git(site.remote, "for-each-ref") == before


def test_a_dry_run_lists_what_would_be_ended_and_ends_nothing(site: Site, cli: Cli) -> None:
    with site.running():
        until(lambda: runs(site), what="the training")
        key = next(iter(site.started()))[1]
        said = cli("cancel", "slow", "--now", "--dry-run", code=0)
        assert said.out.startswith(f"Model default/slow: train {key[:12]} would be ended ")
        (site.root / "gate").touch()
        until(lambda: site.phases().get("slow") == "Ready", what="its end")
