"""The daemon requests updates of what is pinned, edits them in place, and closes them itself."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.site import GOOD, Site, git, stop, until
from tests.e2e.test_pull_requests import configure
from tests.forge.gitlab_server import forge_server
from tests.forge.server import Answer, ForgeServer
from tests.git.remotes import HttpRemote

BRANCH = "reconciler/update/local/model-default-production"
MEASURE = 'echo "{}" > "$RESULT_DIR/metrics.json"\n'


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with forge_server("gitea") as found:
        yield found


@pytest.fixture
def remote(site: Site) -> Iterator[HttpRemote]:
    git(site.remote, "config", "http.receivepack", "true")
    found = HttpRemote(site.root)
    yield found
    found.close()


@pytest.fixture
def team(site: Site, forge: ForgeServer, remote: HttpRemote) -> Site:
    """A Model and the promotion that pins its first artifact; the daemon may request updates."""
    follow(site, forge, remote)
    trained(site, 1)
    assert site.sync().returncode == 0
    promoted(site, key(site))
    assert site.sync().returncode == 0
    forge.tip = lambda branch: git(site.remote, "rev-parse", branch).strip()
    return site


def follow(site: Site, forge: ForgeServer, remote: HttpRemote, **review: Any) -> None:
    configure(site, forge, remote, **review)
    site.configure_more(requests={}, prices={"currency": "EUR", "cpu": 1, "startup": "1h"})


def trained(site: Site, accuracy: int) -> None:
    body = f'echo \'{{"accuracy": {accuracy}}}\' > "$MODEL_DIR/metrics.json"\n'
    cpu = "    resources: {cpu: 1}\n"
    site.trained("candidate", body, params={"accuracy": accuracy}, more=cpu)


def promoted(site: Site, pinned: str) -> None:
    site.write(
        "production.yaml",
        "# What serves.\nkind: Model\nmetadata: {name: production}\nspec:\n"
        f"  source: {{model: {{name: candidate, key: {pinned}}}}}  # the release\n"
        "  load: {command: []}\n",
    )


def key(site: Site, name: str = "candidate") -> str:
    found: str = site.statuses()[name]["artifact"]["key"]
    return found


def requests(forge: ForgeServer) -> list[tuple[str, str]]:
    return [(state, title) for state, title, _ in forge.texts().values()]


def merge(site: Site, branch: str) -> None:
    git(site.work, "pull", "--quiet", "--no-rebase", "origin", "main")
    git(site.work, "pull", "--quiet", "--no-rebase", "--no-edit", "origin", branch)
    git(site.work, "push", "--quiet", "origin", "main")


def test_a_promotion_is_requested_edited_declined_and_merged(
    team: Site, forge: ForgeServer
) -> None:
    first = key(team)
    with team.running() as daemon:
        trained(team, 2)
        team.push()
        until(lambda: requests(forge), what="a request")
        second = key(team)
        assert requests(forge) == [("open", f"Promote artifact {second[:12]} to {PRODUCTION}")]
        text = forge.texts()[1][2]
        assert f"| artifact | `{first}` | `{second}` |" in text
        assert "| `accuracy` | `1` | `2` |" in text
        # The hour of `startup`, and what the command took.
        (costs,) = [line for line in text.splitlines() if "cost of its runs (estimate)" in line]
        assert costs.count("`EUR 1.") == 2
        assert "Merging it makes nothing run." in text
        assert "its plan is in the comment of the reconciler" in text
        changed = git(team.remote, "diff", f"main...{BRANCH}", "--unified=0").splitlines()
        assert [line for line in changed if line[:1] in "+-" and line[1:2] not in "+-"] == [
            f"-  source: {{model: {{name: candidate, key: {first}}}}}  # the release",
            f'+  source: {{model: {{name: candidate, key: "{second}"}}}}  # the release',
        ]

        trained(team, 3)
        team.push()
        until(lambda: "`3`" in forge.texts()[1][2], what="the request to be edited")
        third = key(team)
        assert requests(forge) == [("open", f"Promote artifact {third[:12]} to {PRODUCTION}")]
        until(lambda: third in git(team.remote, "show", f"{BRANCH}:production.yaml"), what="a push")
        assert git(team.remote, "rev-list", "--count", f"main..{BRANCH}").strip() == "1"

        forge.end(1)
        stop(daemon, signal.SIGKILL)
    with team.running():
        until(
            lambda: "an update was decided on before" in team.log(), what="the decision to be read"
        )
        assert len(requests(forge)) == 1

        trained(team, 4)
        team.push()
        until(lambda: len(requests(forge)) == 2, what="a request of what is newer")
        fourth = key(team)
        merge(team, BRANCH)
        forge.end(2, merged=True)
        until(lambda: key(team, "production") == fourth, what="the release")
    assert forge.complaints == []
    assert len(requests(forge)) == 2


PRODUCTION = "Model default/production"


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_killed_at_any_call_that_changes_the_forge_each_thing_is_done_once(
    team: Site, forge: ForgeServer, *, done: bool
) -> None:
    """Killed as the call arrives; with ``done`` the forge carries it out all the same."""

    def killed_at(call: str) -> None:
        """Run the daemon until it has made a call, and once more to the end."""
        with team.running() as daemon:

            def kill(name: str) -> Answer | None:
                if name != call:
                    return None
                forge.fault = lambda _: None
                daemon.kill()
                daemon.wait()
                return None if done else (500, {}, b"")

            forge.fault = kill
            until(lambda: daemon.poll() is not None, what=f"the call: {call}")

    def newest() -> list[tuple[str, str]]:
        return [("open", f"Promote artifact {key(team)[:12]} to {PRODUCTION}")]

    def proposed() -> str:
        return git(team.remote, "show", f"{BRANCH}:production.yaml")

    def obsolete() -> int:
        return len([body for body in forge.bodies(1) if body.startswith("Obsolete")])

    for accuracy, call in ((2, "create request"), (3, "update request")):
        trained(team, accuracy)
        team.push()
        killed_at(call)
        with team.running():
            until(lambda: key(team) in forge.texts().get(1, ("", "", ""))[2], what="the request")
            assert requests(forge) == newest()
            until(lambda: key(team) in proposed(), what="its branch")
            assert git(team.remote, "rev-list", "--count", f"main..{BRANCH}").strip() == "1"

    promoted(team, key(team))
    team.push("Promote by hand")
    for call in ("create comment", "update request"):
        killed_at(call)
        assert done or requests(forge) == newest()
        if done and call == "create comment":
            assert obsolete() == 1
    with team.running():
        until(lambda: requests(forge)[0][0] != "open", what="the request to be closed")
        until(lambda: not git(team.remote, "branch", "--list", BRANCH).strip(), what="its branch")
    assert obsolete() == len(requests(forge)) == 1
    assert forge.complaints == []


def test_a_request_with_nothing_to_change_is_closed(team: Site, forge: ForgeServer) -> None:
    with team.running():
        trained(team, 2)
        team.push()
        until(lambda: requests(forge), what="a request")
        promoted(team, key(team))
        team.push("Promote by hand")
        until(lambda: requests(forge)[0][0] != "open", what="the request to be closed")
        (said,) = [body for body in forge.bodies(1) if body.startswith("Obsolete")]
        assert "the branch has this value" in said
        until(
            lambda: not git(team.remote, "branch", "--list", BRANCH).strip(),
            what="the branch to go",
        )
    assert forge.complaints == []


def test_a_branch_with_somebody_elses_commit_is_left_alone(team: Site, forge: ForgeServer) -> None:
    with team.running():
        trained(team, 2)
        team.push()
        until(lambda: requests(forge), what="a request")
        second = key(team)
        git(team.work, "fetch", "--quiet", "origin", BRANCH)
        git(team.work, "checkout", "--quiet", "--detach", "FETCH_HEAD")
        team.write("NOTES", "reviewed")
        git(team.work, "add", "--all")
        git(team.work, "commit", "--quiet", "--message", "Add a note")
        git(team.work, "push", "--quiet", "origin", f"HEAD:{BRANCH}")
        mine = git(team.work, "rev-parse", "HEAD")
        git(team.work, "checkout", "--quiet", "main")
        trained(team, 3)
        team.push()
        until(lambda: "has commits of Test" in team.log(), what="the commit to be seen")
        assert git(team.remote, "rev-parse", BRANCH) == mine
    assert second[:12] in requests(forge)[0][1]


def test_a_newer_commit_of_a_pinned_source_is_requested(
    site: Site, forge: ForgeServer, remote: HttpRemote
) -> None:
    follow(site, forge, remote, comment=False)
    site.configure_more(sources={"allow": ["file://*", "http://*"], "interval": "1s"})
    forge.tip = lambda branch: git(site.remote, "rev-parse", branch).strip()
    (site.root / "code").mkdir()
    code = Site(site.root / "code")
    code.script("net/train.sh", GOOD)
    first = code.push()
    site.write(
        "pinned.yaml",
        "kind: Model\nmetadata: {name: pinned}\nspec:\n"
        f"  source: {{git: {{url: 'file://{code.remote}', path: net, commit: {first}}}}}\n"
        f"  training: {{mode: Scratch, env: {site.env('pinned')}, resources: {{cpu: 1}}}}\n",
    )
    assert site.sync().returncode == 0
    with site.running():
        code.write("README", "nothing that is built")
        code.push()
        code.script("net/train.sh", f"{GOOD}# better\n")
        newest = code.push()
        until(lambda: requests(forge), what="a request")
        title = f"Update Model default/pinned to commit {newest[:12]}"
        assert requests(forge) == [("open", title)]
        branch = "reconciler/update/local/model-default-pinned"
        assert newest in git(site.remote, "show", f"{branch}:pinned.yaml")
        text = forge.texts()[1][2]
        assert "Merging it runs 1 build and 1 training. Estimate, of recorded runs: " in text
        assert re.search(r" until done, EUR [0-9.]+", text), text
        assert "what `reconciler plan` prints in a clone with this branch" in text
        merge(site, branch)
        until(lambda: site.started().total() == 2, what="the training")
    assert site.statuses()["pinned"]["source"]["commit"] == newest


def test_newer_commits_of_a_model_and_of_its_test_are_requested_apart(
    site: Site, forge: ForgeServer, remote: HttpRemote
) -> None:
    follow(site, forge, remote)
    site.configure_more(sources={"allow": ["file://*", "http://*"], "interval": "1s"})
    forge.tip = lambda branch: git(site.remote, "rev-parse", branch).strip()
    sources = {}
    for name, script in (("code", "train.sh"), ("test", "evaluate.sh")):
        (site.root / name).mkdir()
        sources[name] = Site(site.root / name)
        sources[name].script(f"net/{script}", MEASURE if name == "test" else GOOD)
    pins = {name: source.push() for name, source in sources.items()}
    git_of = {
        name: f"{{git: {{url: 'file://{source.remote}', path: net, commit: {pins[name]}}}}}"
        for name, source in sources.items()
    }
    site.write(
        "pinned.yaml",
        "kind: Model\nmetadata: {name: pinned}\nspec:\n"
        f"  source: {git_of['code']}\n"
        f"  training: {{mode: Scratch, env: {site.env('pinned')}}}\n"
        f"  evaluation: {{command: [evaluate.sh], source: {git_of['test']}, "
        f"env: {site.env('test')}}}\n",
    )
    assert site.sync().returncode == 0
    with site.running():
        sources["test"].script("net/evaluate.sh", f"{MEASURE}# stricter\n")
        newest = sources["test"].push()
        until(lambda: requests(forge), what="a request")
        title = f"Update the evaluation of Model default/pinned to commit {newest[:12]}"
        assert requests(forge) == [("open", title)]
        branch = "reconciler/update/local/model-default-pinned.evaluation"
        proposed = git(site.remote, "show", f"{branch}:pinned.yaml")
        assert newest in proposed
        assert pins["code"] in proposed, "the other pin stays"
        sources["code"].script("net/train.sh", f"{GOOD}# better\n")
        sources["code"].push()
        until(lambda: len(requests(forge)) == 2, what="the other request")
        assert [state for state, _ in requests(forge)] == ["open", "open"]
        merge(site, branch)
        until(lambda: site.started().total() == 3, what="the evaluation")
    assert site.statuses()["pinned"]["evaluationSource"]["commit"] == newest
    assert site.ran() == {"pinned": 1, "test": 2}, "nothing is trained for a test"
