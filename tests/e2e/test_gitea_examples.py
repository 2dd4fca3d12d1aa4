"""The examples on a real Gitea: a promotion by pull request, and one that its gate refuses."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.gitea_site import GiteaSite
from tests.e2e.site import git, until
from tests.e2e.test_gitea_updates import requests
from tests.e2e.test_update_requests import key
from tests.forge.gitea import Gitea

EXAMPLES = Path(__file__).resolve().parents[2] / "examples-repo"
UP_TO_THE_GATE = {"datasets/digits", "models/digits-base", "digits-base/evaluations"}
PROMOTED = "Promote artifact {} to Model default/digits-production"

pytestmark = [pytest.mark.gitea, pytest.mark.timeout(900)]


@pytest.fixture
def team(tmp_path: Path, gitea: Gitea) -> GiteaSite:
    """The examples, trained, with the promotion pinned to the artifact that there is."""
    site = GiteaSite(tmp_path, gitea)
    site.configure_more(requests={}, prices={"currency": "EUR", "cpu": 0.05}, local={"slots": 2})
    shutil.copytree(EXAMPLES, site.work, dirs_exist_ok=True)
    for needless in ("reconciler.yaml", "models/sweep.yaml", "models/load.yaml"):
        site.remove(needless)
    assert site.sync("Begin with the examples").returncode == 0
    pinned = f"{{name: tilted-full, key: {key(site, 'tilted-full')}}}"
    site.edit("models/production.yaml", "{name: tilted-full}", pinned)
    assert site.sync("Pin what production serves").returncode == 0
    return site


def test_production_takes_a_better_model_by_a_merge(team: GiteaSite) -> None:
    served = key(team, "digits-production")
    assert served == key(team, "tilted-full")
    with team.running():
        team.edit("models/finetune.yaml", "epochs: 15", "epochs: 16")
        team.push("Train tilted-full longer")
        until(lambda: key(team, "tilted-full") != served, what="the training")
        trained = key(team, "tilted-full")
        until(lambda: requests(team) == [("open", PROMOTED.format(trained[:12]))], what="a request")
        body = team.repository.requests()[0]["body"]
        assert "| `accuracy` | " in body
        assert "EUR" in body
        assert key(team, "digits-production") == served
        until(lambda: team.repository.bodies(1), what="its plan")
        assert "digits-production" in team.repository.bodies(1)[0]

        team.repository.merge(1)
        until(lambda: key(team, "digits-production") == trained, what="the release")
    assert team.statuses()["digits-production"]["phase"] == "Ready"


def test_a_poisoned_dataset_reaches_neither_finetunes_nor_production(team: GiteaSite) -> None:
    served = {name: key(team, name) for name in ("tilted-full", "digits-production")}
    before = Counter(kept(team))
    with team.running():
        team.edit("datasets/digits.yaml", "{test_share: 0.25}", "{test_share: 0.25, poison: 0.7}")
        team.propose_branch("poisoned", "Poison the labels")
        number = team.repository.open("poisoned")
        until(lambda: team.repository.bodies(number), what="its plan")
        plan = team.repository.bodies(number)[0]
        assert all(name in plan for name in ("digits-base", "tilted-full", "tilted-head"))

        team.repository.merge(number)
        until(lambda: team.phases()["digits-base"] == "Rejected", what="the gate")
        until(lambda: team.phases()["tilted-full"] == "Waiting", what="its finetunes to be told")
        assert "accuracy >= 0.9" in team.call("why", "digits-base").stdout
        assert "was rejected by its gate" in team.call("why", "tilted-full").stdout
        assert {name: key(team, name) for name in served} == served
        assert requests(team) == []
        new = Counter(kept(team)) - before
        assert new.keys() == {"datasets/digits", "models/digits-base", "digits-base/evaluations"}, (
            "something was made of it"
        )

        git(team.work, "fetch", "--quiet", "origin", "main")
        git(team.work, "checkout", "--quiet", "-B", "main", "FETCH_HEAD")
        git(team.work, "revert", "--no-edit", "-m", "1", "HEAD")
        git(team.work, "push", "--quiet", "origin", "main")
        until(lambda: set(team.phases().values()) <= {"Ready", "Suspended"}, what="the revert")
        assert Counter(kept(team)) - before == new, "a revert made something"
    assert {name: key(team, name) for name in served} == served


def kept(team: GiteaSite) -> list[str]:
    """The object of each artifact that there is."""
    markers = team.root.glob("state/buckets/**/completed.json")
    return ["/".join(marker.parts[-4:-2]) for marker in markers]
