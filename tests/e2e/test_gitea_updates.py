"""Updates that the daemon requests on a real Gitea: opened, edited, declined, merged and closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.gitea_site import GiteaSite
from tests.e2e.site import GOOD, Site, git, stop, until
from tests.e2e.test_update_requests import key, promoted, trained
from tests.forge.gitea import Gitea

pytestmark = pytest.mark.gitea

BRANCH = "reconciler/update/local/model-default-production"
DECIDED = "an update was decided on before"


@pytest.fixture
def team(tmp_path: Path, gitea: Gitea) -> GiteaSite:
    """A Model and the promotion that pins its first artifact; the daemon may request updates."""
    site = GiteaSite(tmp_path, gitea)
    site.configure_more(requests={})
    trained(site, 1)
    assert site.sync().returncode == 0
    promoted(site, key(site))
    assert site.sync().returncode == 0
    return site


def requests(team: GiteaSite) -> list[tuple[str, str]]:
    """State and title of the requests of ``bot``."""
    found = team.repository.requests()
    return [(r["state"], r["title"]) for r in found if r["user"]["login"] == "bot"]


def title(team: GiteaSite) -> str:
    return f"Promote artifact {key(team)[:12]} to Model default/production"


def pull(team: GiteaSite) -> None:
    """Bring the clone to the branch that is followed, as it is now."""
    git(team.work, "fetch", "--quiet", "origin", "main")
    git(team.work, "checkout", "--quiet", "-B", "main", "FETCH_HEAD")


def better(team: GiteaSite, accuracy: int) -> str:
    """Train another artifact; the title of the request for it."""
    before = key(team)
    trained(team, accuracy)
    team.push()
    until(lambda: key(team) != before, what="the training")
    return title(team)


def test_an_update_is_requested_edited_and_merged(team: GiteaSite) -> None:
    with team.running():
        second = better(team, 2)
        until(lambda: requests(team) == [("open", second)], what="a request")
        assert "| `accuracy` | `1` | `2` |" in team.repository.requests()[0]["body"]
        until(lambda: team.repository.bodies(1), what="its plan")

        third = better(team, 3)
        until(lambda: requests(team) == [("open", third)], what="the request to be edited")
        pinned = key(team)
        until(
            lambda: pinned in git(team.remote, "show", f"{BRANCH}:production.yaml"), what="a push"
        )
        assert git(team.remote, "rev-list", "--count", f"main..{BRANCH}").strip() == "1"
        until(lambda: "1 → 3" in team.repository.bodies(1)[0], what="the plan to be edited")
        assert len(team.repository.bodies(1)) == 1

        team.repository.merge(1, delete=True)
        until(lambda: key(team, "production") == pinned, what="the release")
        pull(team)
        git(team.work, "revert", "--no-edit", "-m", "1", "HEAD")
        git(team.work, "push", "--quiet", "origin", "main")
        until(lambda: DECIDED in team.log(), what="the reverted release to be left alone")
        assert requests(team) == [("closed", third)]
    assert "Updates cannot be requested" not in team.log()
    assert "updates cannot be requested" not in team.log()


def test_a_declined_update_stays_declined_without_its_branch(team: GiteaSite) -> None:
    with team.running() as daemon:
        second = better(team, 2)
        until(lambda: requests(team) == [("open", second)], what="a request")
        stop(daemon)
    team.repository.close(1)
    team.repository.delete_branch(BRANCH)
    with team.running():
        until(lambda: DECIDED in team.log(), what="the decision to be read")
        third = better(team, 3)
        until(lambda: len(requests(team)) == 2, what="a request of what is newer")
    assert requests(team) == [("closed", second), ("open", third)]


def test_a_request_with_nothing_to_change_is_closed(team: GiteaSite) -> None:
    with team.running():
        second = better(team, 2)
        until(lambda: requests(team) == [("open", second)], what="a request")
        promoted(team, key(team))
        team.push("Promote by hand")
        until(lambda: requests(team) == [("closed", second)], what="the request to be closed")
        obsolete = [body for body in team.repository.bodies(1) if body.startswith("Obsolete")]
        assert len(obsolete) == 1
        until(lambda: not git(team.remote, "branch", "--list", BRANCH), what="the branch to go")
    assert "cannot be" not in team.log()


def test_a_forks_request_from_a_branch_of_that_name_is_not_ours(team: GiteaSite) -> None:
    fork = team.repository.fork("guest")
    git(team.work, "checkout", "--quiet", "-b", "theirs")
    team.write("NOTES", "words")
    git(team.work, "add", "--all")
    git(team.work, "commit", "--quiet", "--message", "Add a note")
    git(team.work, "push", "--quiet", team.gitea.url(fork, user="guest"), f"theirs:{BRANCH}")
    git(team.work, "checkout", "--quiet", "main")
    theirs = team.repository.open(f"guest:{BRANCH}", user="guest", title="Theirs")
    with team.running():
        second = better(team, 2)
        until(lambda: requests(team) == [("open", second)], what="a request of our own")
        promoted(team, key(team))
        team.push("Promote by hand")
        until(lambda: requests(team) == [("closed", second)], what="our request to be closed")
    assert team.repository.call("GET", f"/pulls/{theirs}")["state"] == "open"


def test_a_newer_commit_of_a_pinned_source_is_requested(tmp_path: Path, gitea: Gitea) -> None:
    site = GiteaSite(tmp_path, gitea)
    (tmp_path / "code").mkdir()
    code = Site(tmp_path / "code")
    code.script("net/train.sh", GOOD)
    first = code.push()
    site.configure_more(requests={}, sources={"allow": ["file://*", "http://*"], "interval": "1s"})
    site.configure_section("review", interval="1s")
    site.write(
        "pinned.yaml",
        "kind: Model\nmetadata: {name: pinned}\nspec:\n"
        f"  source: {{git: {{url: 'file://{code.remote}', path: net, commit: {first}}}}}\n"
        f"  training: {{mode: Scratch, env: {site.env('pinned')}}}\n",
    )
    assert site.sync().returncode == 0
    with site.running():
        code.script("net/train.sh", f"{GOOD}# better\n")
        newest = code.push()
        wanted = [("open", f"Update Model default/pinned to commit {newest[:12]}")]
        until(lambda: requests(site) == wanted, what="a request")
        site.repository.merge(1)
        until(lambda: site.started().total() == 2, what="the training of it")
        until(lambda: site.statuses()["pinned"]["source"]["commit"] == newest, what="its status")
