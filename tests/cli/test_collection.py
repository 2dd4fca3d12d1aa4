"""``artifacts --collect`` and ``--undo``, and the lines of a plan, on what a daemon recorded."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from reconciler.status import CollectionReport
from tests.e2e.site import Site, git

HIDDEN = ".reconciler-collected.json"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A Model that was trained twice."""
    site = Site(tmp_path)
    site.script("src/a/train.sh", 'echo x > "$MODEL_DIR/weights"\n')
    for epochs in (1, 2):
        site.scratch("a", params={"epochs": epochs})
        site.push()
        policy(site, enabled=False)
        assert site.run_once().returncode == 0
    return site


def policy(site: Site, **more: Any) -> None:
    site.configure(retention={"keep": 1, "days": 0, "maxShare": 1.0} | more)


def cli(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return site.call(*arguments, cwd=site.work)


def old_key(site: Site) -> str:
    entries = [e for e in site.statuses()["a"]["history"] if "artifact" in e]
    key: str = entries[0]["key"]
    return key


def test_from_a_look_to_an_undo(site: Site) -> None:
    key = old_key(site)
    # Nothing is collected yet: it is only said what would be.
    shown = cli(site, "artifacts", "--collect").stdout
    assert f"\N{MULTIPLICATION SIGN} Model default/a {key[:12]}  2 B, 0 d old: unused" in shown
    assert "retention.enabled is false" in shown
    git(site.work, "fetch", "--quiet", "origin", f"{site.branch}:{site.branch}")
    planned = cli(site, "plan", "--base", "HEAD")
    assert "1 artifact that nothing refers to, 2 B" in planned.stdout
    assert key[:12] not in planned.stdout
    planned = cli(site, "plan", "--base", "HEAD", "--all")
    assert planned.returncode == 0, planned.stderr
    assert f"\N{MULTIPLICATION SIGN} Model default/a {key[:12]}" in planned.stdout
    # It is hidden.
    policy(site, enabled=True)
    assert site.run_once().returncode == 0
    shown = cli(site, "artifacts", "--collect").stdout
    assert f"{key[:12]}  2 B, 0 d old: removed from 2" in shown
    entries = json.loads(cli(site, "artifacts", "--format", "json").stdout)
    found = {e["key"]: e for e in entries if e["kind"] == "Model"}
    assert found[key]["collection"] == "remove"
    (kept,) = (entry for other, entry in found.items() if other != key)
    assert (kept["collection"], kept["keptBy"][0]) == ("keep", "current of Model default/a")
    folder = Path(found[key]["url"].removeprefix("file://"))
    assert (folder / HIDDEN).exists()
    # It is taken back.
    done = cli(site, "artifacts", "--undo", key[:8])
    assert done.returncode == 0, done.stderr
    assert f"The artifact {key[:12]} is complete again" in done.stdout
    assert (folder / "completed.json").exists()
    assert not (folder / HIDDEN).exists()
    assert cli(site, "artifacts", "--undo", "abcdef").returncode == 1


def test_without_a_collection_that_is_what_is_said(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.trained("a")
    assert site.sync().returncode == 0
    done = cli(site, "artifacts", "--collect")
    assert (done.returncode, done.stdout) == (0, "The last collection found nothing unused.\n")
    assert not CollectionReport().notable
