"""A plan lists what a collection takes where the change concerns it, and counts the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.status import SIGN
from tests.cli.conftest import Cli
from tests.e2e.site import Site, git


def test_artifacts_are_listed_of_the_objects_that_a_change_concerns(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    policy = {"enabled": False, "keep": 1, "days": 0, "grace": "7d", "maxShare": 1.0}
    site.configure(retention=policy, repository={"url": str(site.remote)})
    site.trained("other", 'echo x > "$MODEL_DIR/weights"\n', params={"epochs": 1})
    site.script("src/a/train.sh", 'echo x > "$MODEL_DIR/weights"\n')
    for epochs in (1, 2, 3):
        site.scratch("a", params={"epochs": epochs})
        assert site.sync().returncode == 0
    monkeypatch.chdir(site.root)
    git(site.work, "fetch", "--quiet", "origin", f"+{site.branch}:{site.branch}")

    def planned(*arguments: str) -> list[str]:
        said = cli("plan", "--repo", str(site.work), *arguments, code=2)
        return [line for line in said.out.splitlines() if SIGN in line or "refers to" in line]

    site.edit("other.yaml", '"epochs": 1', '"epochs": 5')
    (summary,) = planned()
    assert summary.startswith("2 artifacts that nothing refers to, ")
    assert summary.endswith(" (--all lists them).")
    assert len(planned("--all")) == 3
    marked = cli("plan", "--repo", str(site.work), "--format", "markdown", code=2).out
    assert SIGN not in marked, "none is of an object that changes"
    assert "<sub>2 artifacts that nothing refers to, " in marked
    site.edit("a.yaml", '"epochs": 3', '"epochs": 4')
    assert len(planned()) == 3
    marked = cli("plan", "--repo", str(site.work), "--format", "markdown", code=2).out
    assert marked.count(f"- {SIGN} `Model default/a ") == 2
    assert " old" not in marked.partition("**Artifacts")[2], "a comment would change by the day"
