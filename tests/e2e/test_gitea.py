"""Pull requests on a real Gitea: hooks, statuses, one comment, and what merging makes run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.e2e.gitea_site import GiteaSite
from tests.e2e.site import git, until
from tests.e2e.test_operation import get, ready, running
from tests.forge.gitea import SCOPES, Gitea, GiteaError
from tests.reverse_proxy import Answer, ReverseProxy

pytestmark = pytest.mark.gitea


@pytest.fixture
def team(tmp_path: Path, gitea: Gitea) -> GiteaSite:
    """A Model on ``main``, which is not trained yet."""
    site = GiteaSite(tmp_path, gitea)
    site.trained("left", params={"epochs": 1})
    site.push("Begin")
    return site


def longer(team: GiteaSite, branch: str = "longer", epochs: int = 2) -> str:
    """Push a branch on which ``left`` trains for longer; its head."""
    git(team.work, "checkout", "--quiet", "-B", branch, "main")
    team.edit("left.yaml", '"epochs": 1', f'"epochs": {epochs}')
    head = team.propose_branch(branch)
    git(team.work, "checkout", "--quiet", "main")
    return head


def status_of(team: GiteaSite, commit: str) -> str:
    """The state that ``bot`` gave a commit, or nothing."""
    found = team.repository.statuses(commit)
    states = [state for context, state, who in found if (context, who) == (CONTEXT, "bot")]
    return states[0] if states else ""


CONTEXT = "reconciler/local"


@pytest.mark.parametrize("transport", ["http", "ssh"])
def test_a_request_is_planned_and_its_merge_is_run(team: GiteaSite, transport: str) -> None:
    if transport == "ssh":
        team.by_ssh()
    repository = team.repository
    rules = {"enable_status_check": True, "status_check_contexts": [CONTEXT]}
    repository.protect("main", **rules, enable_push=False, block_admin_merge_override=True)
    with running(team) as url:
        until(lambda: team.phases().get("left") == "Ready", what="the first training")
        first = longer(team)
        number = repository.open("longer")
        until(lambda: repository.bodies(number), what="the comment")
        until(lambda: status_of(team, first) == "success", what="the status")
        assert "`training.params.epochs`: `1` → `2`" in repository.bodies(number)[0]

        second = longer(team, epochs=3)  # by force
        until(lambda: "→ `3`" in repository.bodies(number)[0], what="the comment to be edited")
        until(lambda: status_of(team, second) == "success", what="the second status")
        assert len(repository.comments(number)) == 1
        team.ran()
        broken = broken_change(team)
        until(lambda: status_of(team, broken) == "failure", what="the errors to be told")
        until(lambda: "status check" in refusal(team, number), what="the merge to be refused")
        assert team.ran() == {}, "nothing of a pull request is run"

        third = longer(team, epochs=4)
        until(lambda: status_of(team, third) == "success", what="it to be mended")
        repository.merge(number)
        until(lambda: team.ran() == {"left": 1}, what="the training of what was merged")
        until(lambda: team.told("left").startswith("Ready"), what="its status")
        metrics = get(f"{url}/metrics")
    assert 'reconciler_errors_total{class="refused",where="forge"} 0.0' in metrics
    assert 'reconciler_webhooks_total{result="refused"} 0.0' in metrics


def refusal(team: GiteaSite, number: int) -> str:
    """Why Gitea does not merge a request."""
    with pytest.raises(GiteaError) as caught:
        team.repository.call("POST", f"/pulls/{number}/merge", {"Do": "merge"})
    return str(caught.value)


def broken_change(team: GiteaSite) -> str:
    git(team.work, "checkout", "--quiet", "longer")
    team.edit("left.yaml", "params:", "parms:")
    head = team.propose_branch("longer")
    git(team.work, "checkout", "--quiet", "main")
    return head


def test_a_forks_request_is_planned_and_nothing_of_it_is_asked(team: GiteaSite) -> None:
    fork = team.repository.fork("guest")
    git(team.work, "checkout", "--quiet", "-b", "theirs")
    team.edit("left.yaml", '"epochs": 1', '"epochs": 2')
    elsewhere = team.gitea.url("guest/elsewhere")
    team.write(
        "new.yaml",
        f"kind: Model\nmetadata: {{name: new}}\nspec: {{source: {{git: {{url: '{elsewhere}'}}}}, "
        "load: {command: [load.sh]}}\n",
    )
    git(team.work, "add", "--all")
    git(team.work, "commit", "--quiet", "--message", "Change")
    git(team.work, "push", "--quiet", team.gitea.url(fork, user="guest"), "theirs")
    head = git(team.work, "rev-parse", "HEAD").strip()
    number = team.repository.open("guest:theirs", user="guest")
    with running(team):
        until(lambda: team.repository.bodies(number), what="the comment")
        until(lambda: status_of(team, head) == "success", what="the status")
        (comment,) = team.repository.bodies(number)
        assert "`training.params.epochs`: `1` → `2`" in comment
        assert "is new, and is looked up once this is merged" in comment
        until(lambda: team.phases().get("left") == "Ready", what="the training of main")
        team.gitea.call("DELETE", f"/repos/{fork}", user="guest")
        git(team.work, "checkout", "--quiet", "main")
        team.trained("right")
        team.push("Another model")
        until(lambda: team.phases().get("right") == "Ready", what="the next training")
        until(lambda: "cannot be planned" not in team.log(), what="no error")
    assert set(team.ran()) == {"left", "right"}
    assert len(team.repository.comments(number)) == 1


def test_a_request_that_ends_while_it_is_planned_disturbs_nothing(team: GiteaSite) -> None:
    asked, ended = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> Answer | None:
        """Keep the first status waiting until the request has ended."""
        if method == "POST" and "/statuses/" in path:
            asked.set()
            ended.wait()
        return None

    proxy = ReverseProxy(team.gitea.address, hold)
    try:
        team.follow(api=f"{proxy.endpoint}/api/v1")
        closed = longer(team)
        number = team.repository.open("longer")
        with running(team) as url:
            until(asked.is_set, what="the first status")
            team.repository.close(number)
            team.repository.delete_branch("longer")
            ended.set()
            until(lambda: team.phases().get("left") == "Ready", what="the training")
            other = longer(team, "other", epochs=5)
            second = team.repository.open("other")
            until(lambda: status_of(team, other) == "success", what="the next request")
            until(lambda: len(team.repository.bodies(second)) == 1, what="its comment")
            assert "cannot be" not in get(url)
        assert status_of(team, closed) == "success"
        assert {status for _, _, status in proxy.calls} <= {200, 201, 304}
    finally:
        ended.set()
        proxy.close()


def test_a_request_whose_branch_is_deleted_is_planned_no_more(team: GiteaSite) -> None:
    with running(team):
        head = longer(team)
        number = team.repository.open("longer")
        until(lambda: status_of(team, head) == "success", what="the status")
        team.repository.delete_branch("longer")
        other = longer(team, "other", epochs=5)
        team.repository.open("other")
        until(lambda: status_of(team, other) == "success", what="the next request")
    assert "cannot be" not in team.log()
    assert len(team.repository.comments(number)) == 1


def test_a_pause_that_is_asked_for_is_kept_and_holds_up_nothing(team: GiteaSite) -> None:
    left = ["1", "1"]

    def limit(method: str, path: str) -> Answer | None:
        if method == "POST" and "/statuses/" in path and left:
            return 429, {"Retry-After": left.pop()}, b'{"message": "slow down"}'
        return None

    proxy = ReverseProxy(team.gitea.address, limit)
    try:
        team.follow(api=f"{proxy.endpoint}/api/v1")
        head = longer(team)
        number = team.repository.open("longer")
        with running(team) as url:
            until(lambda: len(left) < 2, what="the first refusal")
            until(lambda: team.phases().get("left") == "Ready", what="the training")
            until(lambda: status_of(team, head) == "success", what="the status")
            until(lambda: len(team.repository.bodies(number)) == 1, what="the comment")
            metrics = get(f"{url}/metrics")
        assert 'reconciler_errors_total{class="limited",where="forge"} 2.0' in metrics
        statuses = [path for method, path, _ in proxy.calls if method == "POST" and head in path]
        assert len(statuses) == 1
    finally:
        proxy.close()


# -- rights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "missing"),
    [
        (("write:repository", "write:issue"), "read:user"),
        (("read:user", "write:repository", "read:issue"), "write:issue"),
        (("read:user", "read:repository", "write:issue"), "write:repository"),
        (("read:user", "write:issue"), "read:repository"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_token_of_too_few_scopes_is_told_and_a_right_one_taken(
    team: GiteaSite, scopes: tuple[str, ...], missing: str
) -> None:
    proxy = ReverseProxy(team.gitea.address)
    try:
        team.follow(api=f"{proxy.endpoint}/api/v1", interval="0.2s")
        team.give_token(*scopes)
        head = longer(team)
        number = team.repository.open("longer")
        with running(team) as url:
            until(lambda: ready(url), what="the first sync")
            until(lambda: missing in get(url), what="the page to name what is missing")
            until(lambda: team.phases().get("left") == "Ready", what="the training")
            refused = [path for _, path, status in proxy.calls if status == 403]
            assert len(refused) < 4, "no call is repeated without a pause"
            team.give_token(*SCOPES)
            until(lambda: status_of(team, head) == "success", what="the status")
            until(lambda: len(team.repository.bodies(number)) == 1, what="the comment")
            until(lambda: missing not in get(url), what="the page to be quiet again")
    finally:
        proxy.close()


@pytest.mark.parametrize("transport", ["http", "ssh"])
def test_a_protected_status_branch_is_told_and_the_sync_goes_on(
    team: GiteaSite, transport: str
) -> None:
    if transport == "ssh":
        team.by_ssh()
    team.repository.protect("reconciler/**", enable_push=False)
    with running(team) as url:
        until(lambda: ready(url), what="the first sync")
        rule = "Not allowed to push to protected branch reconciler/status/local"
        until(lambda: rule in get(url), what="the page to say why")
        assert "a rule of the server" in get(url)
        assert team.phases() == {}
        team.trained("right")
        team.push("Another model")
        until(lambda: {"left", "right"} <= set(team.started_names()), what="both trainings")
        team.repository.call("DELETE", "/branch_protections/reconciler%2F**")
        until(lambda: team.phases().get("right") == "Ready", what="the statuses")
        until(lambda: rule not in get(url), what="the page to be quiet again")


@pytest.mark.parametrize("transport", ["http", "ssh"])
def test_credentials_that_may_not_push_are_told(team: GiteaSite, transport: str) -> None:
    if transport == "ssh":
        team.by_ssh()
    team.repository.call("PUT", "/collaborators/bot", {"permission": "read"})
    with running(team) as url:
        until(lambda: ready(url), what="the first sync")
        until(lambda: "The status cannot be pushed" in get(url), what="the page to say why")
        until(lambda: "left" in team.started_names(), what="the training")
        team.repository.call("PUT", "/collaborators/bot", {"permission": "write"})
        until(lambda: team.phases().get("left") == "Ready", what="the statuses")
