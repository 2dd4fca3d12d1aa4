"""A pull request is told what it would do: a status on its head, and one comment, kept current."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.saved_site import SavedSite
from tests.e2e.site import Site, git, stop, until
from tests.e2e.test_operation import get, ready, running
from tests.forge.gitlab_server import forge_server
from tests.forge.server import SOMEBODY, ForgeServer
from tests.git.remotes import HttpRemote
from tests.git.signers import commit, ssh_signer

MARKER = "<!-- reconciler plan of cluster local -->"


@pytest.fixture(params=["github", "gitea", "gitlab"])
def forge(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    with forge_server(request.param) as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SavedSite:
    """A base and a Model off it, both made."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.trained("base", params={"epochs": 3})
    site.finetune("left", "base", params={"epochs": 1})
    assert site.sync().returncode == 0
    return SavedSite.of(site)


@pytest.fixture
def site(made: SavedSite) -> Site:
    return made.restored()


@pytest.fixture
def remote(site: Site) -> Iterator[HttpRemote]:
    with served(site) as found:
        yield found


@contextmanager
def served(site: Site) -> Iterator[HttpRemote]:
    """The site's repository, by HTTP."""
    git(site.remote, "config", "http.receivepack", "true")
    with closing(HttpRemote(site.root)) as found:
        yield found


@pytest.fixture
def team(site: Site, forge: ForgeServer, remote: HttpRemote) -> Site:
    """That site on a forge, whose pull requests are followed."""
    configure(site, forge, remote)
    return site


def configure(site: Site, forge: ForgeServer, remote: HttpRemote, **more: Any) -> None:
    (site.root / "token").write_text(f"{forge.token}\n")
    review = {
        "forge": forge.kind,
        "api": forge.api,
        "repository": "team/models",
        "tokenFile": "token",
        "interval": "0.2s",
    }
    site.configure(
        server={"address": "127.0.0.1:0"},
        repository={"url": remote.url("manifests.git"), "interval": "1s"},
        sources={"allow": ["http://*"]},
        review={**review, **more},
    )


def propose(site: Site, forge: ForgeServer, number: int, message: str = "Change") -> str:
    """Push what was changed in the work tree as the head of a pull request, as a forge has it."""
    head = site.propose(forge.ref(number), message)
    forge.open(number, head)
    return head


def longer(team: Site, forge: ForgeServer, number: int = 7) -> str:
    """A pull request that trains ``left`` for longer; its head."""
    git(team.work, "checkout", "--quiet", "-B", "longer", "main")
    team.edit("left.yaml", '"epochs": 1', '"epochs": 2')
    return propose(team, forge, number)


def told(forge: ForgeServer, commit: str) -> tuple[str, str]:
    """The status of a commit, without how long its runs took the last time: that varies."""
    state, words = forge.status(commit) or ("", "")
    return state, re.sub(r", an estimated \d+s in all\b", "", words)


def test_a_head_gets_a_status_and_one_comment_that_is_edited(
    team: Site, forge: ForgeServer
) -> None:
    git(team.work, "checkout", "--quiet", "-b", "longer")
    team.edit("base.yaml", '"epochs": 3', '"epochs": 5')
    first = propose(team, forge, 7)
    with running(team) as url:
        until(lambda: forge.bodies(7), what="the comment")
        assert told(forge, first) == ("success", "2 trainings run again.")
        (comment,) = forge.bodies(7)
        assert comment.startswith(f"{MARKER}\n### Plan for cluster `local`\n")
        assert "`training.params.epochs`: `3` → `5`" in comment
        assert "default/left" in comment
        assert f"head `{first[:12]}`" in comment

        team.edit("base.yaml", '"epochs": 5', '"epochs": 6')
        second = propose(team, forge, 7)
        until(lambda: forge.comments[7][0]["edits"] == 1, what="the comment to be edited")
        assert "`3` → `6`" in forge.bodies(7)[0]
        assert len(forge.bodies(7)) == 1
        assert told(forge, second) == ("success", "2 trainings run again.")

        team.edit("left.yaml", "params:", "parms:")
        broken = propose(team, forge, 7)
        until(lambda: forge.comments[7][0]["edits"] == 2, what="the errors to be told")
        state, why = told(forge, broken)
        assert state == "failure"
        assert why.startswith("left.yaml:6:5")
        assert "`left.yaml:6:5`" in forge.bodies(7)[0]
        until(lambda: planned(team) == 3, what="the plan to be counted")
        metrics = get(f"{url}/metrics")
    assert 'reconciler_reviews_total{result="success"} 2.0' in metrics
    assert 'reconciler_reviews_total{result="failure"} 1.0' in metrics
    assert "reconciler_pull_requests 1.0" in metrics
    assert team.ran() == {"base": 1, "left": 1}, "nothing of a pull request is run"
    assert forge.token not in team.log()


def test_a_request_is_told_its_price_its_gpu_hours_and_when_it_is_done(
    team: Site, forge: ForgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    prices = {"currency": "EUR", "gpus": {"any": 1.5}, "startup": "1h"}
    team.configure_more(prices=prices, guard={"cost": 2})
    git(team.work, "checkout", "--quiet", "-b", "priced")
    team.edit("base.yaml", '{"epochs": 3}', '{"epochs": 3, "seed": 1}')
    team.edit("base.yaml", "    env:", "    resources: {gpu: {count: 1}}\n    env:")
    first = propose(team, forge, 7)
    with running(team):
        until(lambda: forge.bodies(7), what="the comment")
        (line,) = [line for line in forge.bodies(7)[0].splitlines() if "Estimate" in line]
        assert re.fullmatch(
            r"Estimate, of recorded runs: \d+s of runs.*, \d+s until done.*, "
            r"0\.00 GPU hours.*, EUR 1\.50.*",
            line,
        )
        assert forge.status(first) is not None
        team.edit("left.yaml", "    env:", "    resources: {gpu: {count: 1}}\n    env:")
        propose(team, forge, 7)
        until(lambda: "**Held**" in forge.bodies(7)[0], what="the hold to be told")
        until(lambda: "currency: EUR" in recorded(team), what="the currency to be recorded")
    assert "would cost an estimated EUR 3.00 with 2 tasks" in forge.bodies(7)[0]
    assert "(guard: cost EUR 2.00)" in forge.bodies(7)[0]


def recorded(team: Site) -> str:
    return git(team.remote, "show", "reconciler/status/local:sync.yaml")


def test_what_the_forge_has_is_not_sent_again(team: Site, forge: ForgeServer) -> None:
    head = longer(team, forge)
    for number in (1, 2):
        daemon = team.start()
        try:
            until(lambda: planned(team) >= number, what="the plan")  # noqa: B023 -- called at once
            looks = forge.said("list requests") + 3
            until(lambda: forge.said("list requests") >= looks, what="some looks")  # noqa: B023
        finally:
            stop(daemon)
    assert planned(team) == 2, "once by each daemon"
    assert len(forge.statuses[head]) == 1
    assert (len(forge.bodies(7)), forge.comments[7][0]["edits"]) == (1, 0)


def planned(site: Site) -> int:
    return site.log().count("pull request planned")


def test_a_plan_is_of_what_a_merge_would_make_and_again_when_the_branch_moves(
    team: Site, forge: ForgeServer
) -> None:
    head = longer(team, forge)
    git(team.work, "checkout", "--quiet", "main")
    team.finetune("right", "base")
    tip = team.push("Another model")
    with running(team):
        until(lambda: f"Base `{tip[:12]}`" in "".join(forge.bodies(7)), what="the comment")
        until(lambda: team.phases().get("right") == "Ready", what="the other model")
        assert "right" not in forge.bodies(7)[0], "it is not this change that brings or removes it"
        assert told(forge, head) == ("success", "1 training runs again.")
        assert f"head `{head[:12]}`" in forge.bodies(7)[0], "and not of the merge"
        before = planned(team)
        team.write("NOTES.md", "words\n")
        team.push("The plan stays the same")
        until(lambda: planned(team) > before, what="it to be planned again")
        assert forge.comments[7][0]["edits"] == 0
        team.edit("left.yaml", '"epochs": 1', '"epochs": 4')
        team.push("The same line")
        until(lambda: (forge.status(head) or ("",))[0] == "failure", what="the conflict")
        assert forge.status(head) == ("failure", "It conflicts with main in left.yaml")
        conflict = "conflicts with `main` in `left.yaml`"
        until(lambda: conflict in forge.bodies(7)[0], what="the comment of it")


def test_a_head_whose_ref_is_behind_is_planned_once_it_is_there(
    team: Site, forge: ForgeServer
) -> None:
    first = longer(team, forge)
    team.edit("left.yaml", '"epochs": 2', '"epochs": 4')
    git(team.work, "commit", "--quiet", "--all", "--message", "More")
    second = git(team.work, "rev-parse", "HEAD").strip()
    forge.open(7, second)  # its list is of the branch, which the ref follows
    with running(team):
        until(lambda: "is not at its head yet" in team.log(), what="the ref to be looked at")
        git(team.work, "push", "--quiet", "--force", "origin", f"{second}:{forge.ref(7)}")
        until(lambda: forge.status(second), what="the status of the head")
        until(lambda: "→ `4`" in "".join(forge.bodies(7)), what="the comment of it")
    assert forge.status(first) is None or planned(team) > 1


def test_others_requests_and_what_touches_no_manifest_are_left_alone(
    team: Site, forge: ForgeServer
) -> None:
    git(team.work, "checkout", "--quiet", "-b", "words")
    team.write("NOTES.md", "words\n")
    words = propose(team, forge, 8)
    team.edit("left.yaml", '"epochs": 1', '"epochs": 2')
    other = propose(team, forge, 9)
    forge.open(9, other, base="release")
    forge.pulls[10] = {"number": "ten", "head": None, "base": 3}
    with running(team):
        until(lambda: forge.status(words), what="the status")
    assert forge.status(words) == ("success", "This change makes nothing run.")
    assert forge.bodies(8) == []
    assert other not in forge.statuses


def test_a_closed_one_costs_nothing_and_somebody_elses_comment_is_not_ours(
    team: Site, forge: ForgeServer
) -> None:
    longer(team, forge, 6)
    del forge.pulls[6]
    propose(team, forge, 7)
    forge.write(7, f"{MARKER}\n### Plan\n\nAll is well, merge it.", SOMEBODY)
    with running(team):
        until(lambda: len(forge.bodies(7)) == 2, what="our own comment")
    assert forge.bodies(7)[0].endswith("merge it."), "theirs stays theirs"
    assert not any("/6/" in call for call in forge.calls)
    heads = git(team.root / "state/git/proposals.git", "for-each-ref", "--format=%(refname)")
    assert forge.ref(6).removeprefix("refs/") not in heads


def test_what_people_write_calls_nobody(team: Site, forge: ForgeServer) -> None:
    git(team.work, "checkout", "--quiet", "-b", "nasty")
    team.edit("left.yaml", '"epochs": 1', '"epochs": "@team/all <img src=x> ![](http://e.vil/x)"')
    propose(team, forge, 7)
    with running(team):
        until(lambda: forge.bodies(7), what="the comment")
    (comment,) = forge.bodies(7)
    assert "`@team/all <img src=x> ![](http://e.vil/x)`" in comment


def test_a_source_that_no_merged_manifest_names_is_not_looked_up(
    team: Site, forge: ForgeServer, remote: HttpRemote
) -> None:
    git(team.work, "checkout", "--quiet", "-b", "elsewhere")
    url = remote.url("private.git")
    team.write(
        "new.yaml",
        f"kind: Model\nmetadata: {{name: new}}\nspec: {{source: {{git: {{url: '{url}'}}}}, "
        "load: {command: [load.sh]}}\n",
    )
    propose(team, forge, 7)
    with running(team):
        until(lambda: forge.bodies(7), what="the comment")
    assert "is new, and is looked up once this is merged" in forge.bodies(7)[0]
    assert not any("private.git" in path for path, _ in remote.requests)


def test_a_forge_that_is_away_or_wants_a_pause_holds_up_nothing(
    team: Site, forge: ForgeServer
) -> None:
    answers = iter([(500, {}), (403, {"Retry-After": "1"})])

    def fault(operation: str) -> tuple[int, dict[str, str], bytes] | None:
        if operation != "set status":
            return None
        status, headers = next(answers, (0, {}))
        return (status, headers, b'{"message": "@all later"}') if status else None

    forge.fault = fault
    head = longer(team, forge)
    git(team.work, "checkout", "--quiet", "main")
    with running(team) as url:
        until(lambda: forge.said("set status") >= 1, what="the first try")
        team.finetune("right", "base")
        team.push("A push meanwhile")
        until(lambda: team.phases().get("right") == "Ready", what="the push to be carried out")
        until(lambda: forge.status(head), what="the status, in the end")
        metrics = get(f"{url}/metrics")
    assert 'reconciler_errors_total{class="unreachable",where="forge"} 1.0' in metrics
    assert 'reconciler_errors_total{class="limited",where="forge"} 1.0' in metrics


def test_a_token_that_is_refused_is_told_and_a_new_one_taken(
    team: Site, forge: ForgeServer
) -> None:
    (team.root / "token").write_text("old\n")
    head = longer(team, forge)
    with running(team) as url:
        until(lambda: ready(url), what="the first sync")
        until(lambda: "Pull requests cannot be followed" in get(url), what="the page to say so")
        (team.root / "token.new").write_text(forge.token)
        (team.root / "token.new").replace(team.root / "token")
        until(lambda: forge.status(head), what="the status")
        until(lambda: "cannot be followed" not in get(url), what="the page to be quiet again")
    assert "Bad credentials" in team.log()


@pytest.mark.parametrize("forge", ["github"], indirect=True)
def test_a_report_that_a_right_is_missing_for_is_sent_once_it_is_granted(
    team: Site, forge: ForgeServer
) -> None:
    refusal = b'{"message": "Resource not accessible by personal access token"}'
    forge.fault = lambda name: (403, {}, refusal) if name == "set status" else None
    head = longer(team, forge)
    with running(team) as url:
        told = "1 pull request cannot be reported on: POST /repos/team/models/statuses/"
        until(lambda: ready(url), what="the first sync")
        until(lambda: told in get(url), what="the page to say so")
        looks = forge.said("list requests") + 5
        until(lambda: forge.said("list requests") >= looks, what="some looks")
        assert "Resource not accessible" in get(url)
        forge.fault = lambda _: None
        until(lambda: forge.status(head), what="the status")
        until(lambda: told not in get(url), what="the page to be quiet again")


@pytest.mark.parametrize("mode", ["head", "every"])
def test_a_request_whose_commits_are_not_signed_says_so(
    tmp_path: Path, forge: ForgeServer, mode: str
) -> None:
    site = Site(tmp_path)
    alice = ssh_signer(site.root, "alice")
    (site.root / "signers").write_text(f"alice {alice.key}\n")
    site.trained("base")
    commit(site.work, "Begin", alice)
    git(site.work, "push", "--quiet", "origin", "main")
    git(site.work, "checkout", "--quiet", "-b", "longer")
    site.scratch("base", params={"epochs": 5})
    head = propose(site, forge, 7)
    with served(site) as remote:
        configure(site, forge, remote)
        site.configure_section("repository", verify={"signers": "signers", "mode": mode})
        with running(site):
            until(lambda: forge.bodies(7), what="the comment")
            until(lambda: forge.status(head), what="the status")
            (comment,) = forge.bodies(7)
            state, words = told(forge, head)
    assert "**Not verified:**" in comment
    assert f"the head {head[:12]} is refused: the commit is not signed" in comment
    assert state == ("failure" if mode == "every" else "success")
    assert ("Not verified" in words) is (mode == "every")
