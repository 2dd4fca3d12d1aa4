"""What comes of a pull request where something is in the way: told once, and of no other's cost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.config import load_setup
from reconciler.daemon import pull_requests
from reconciler.daemon.crash_record import CrashRecord
from reconciler.daemon.pull_request_planner import DaemonState, PullRequestPlanner
from reconciler.daemon.pull_requests import MOST_TRIES, PullRequestController
from reconciler.daemon.shutdown import WritePermission
from reconciler.engine import Capacity
from reconciler.forge.github import GitHub
from reconciler.forge.interface import ForgeError
from reconciler.git.manifest_mirror import Mirror
from reconciler.http_client import client
from reconciler.metrics import Metrics
from reconciler.planner.ledger import Ledger
from reconciler.status import SIGN, CollectionEntry, CollectionReport, CollectionStep
from reconciler.types import Commit, Kind, TaskKey
from reconciler.workspace import PlanState, credential_table
from tests.e2e.site import Site, git
from tests.forge.gitlab_server import forge_server
from tests.forge.server import ForgeServer


@pytest.fixture
def server() -> Iterator[ForgeServer]:
    with forge_server("github") as found:
        yield found


@pytest.fixture
def site(tmp_path: Path, server: ForgeServer) -> Site:
    found = Site(tmp_path)
    review = {"forge": "github", "api": server.api, "repository": "team/models", "tokenFile": "t"}
    found.configure(review=review)
    found.trained("a", "", params={"epochs": 1})
    found.push()
    return found


@pytest.fixture
async def controller(
    site: Site, server: ForgeServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PullRequestController]:
    monkeypatch.setattr(pull_requests, "PACE", 0.0)
    setup = load_setup(site.root / "reconciler.yaml", {})
    mirror = Mirror.open(
        setup.root / "git/manifests.git",
        setup.repository_url,
        branch="main",
        credentials=credential_table(setup),
    )

    def state() -> DaemonState:
        return DaemonState(
            head=mirror.fetch(),
            state=PlanState(
                records={},
                ledger=Ledger(),
                runs={},
                capacity=Capacity(containers=True),
                now=datetime.now(UTC),
            ),
        )

    async with client() as caller:
        forge = GitHub(
            caller, server.api, "team/models", lambda: server.token, context="reconciler/local"
        )
        yield PullRequestController(
            setup,
            forge,
            PullRequestPlanner(setup),
            WritePermission(),
            state,
            Metrics(),
            {},
            CrashRecord(site.root / "crashes"),
        )


def propose(site: Site, server: ForgeServer, number: int, **params: Any) -> Commit:
    git(site.work, "checkout", "--quiet", "-B", f"pr-{number}", "main")
    site.scratch("a", params={"epochs": number, **params})
    head = propose_as_it_is(site, server, number)
    git(site.work, "checkout", "--quiet", "main")
    return head


async def test_only_the_leader_tells_anybody(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    propose(site, server, 7)
    controller.permission = WritePermission(lambda: False)
    with pytest.raises(ForgeError, match="another replica"):
        await controller.round()
    assert (server.statuses, server.comments) == ({}, {})
    controller.permission = WritePermission()
    await controller.round()
    assert len(server.bodies(7)) == 1


async def test_one_that_may_not_be_commented_on_does_not_keep_the_others_waiting(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    locked, other = propose(site, server, 7), propose(site, server, 8)

    def fault(name: str) -> tuple[int, dict[str, str], bytes] | None:
        if name == "create comment" and "/7/" in server.calls[-1]:
            return 403, {}, b'{"message": "Unable to create comment because issue is locked."}'
        return None

    def tries() -> int:
        return sum("/7/" in call for call in server.calls if call.startswith("create comment"))

    server.fault = fault
    for _ in range(3):
        await controller.round()
    assert "issue is locked" in controller.troubles["pull request"]
    assert tries() == 1, "it is not tried at once, but after a pause"
    controller._done[7] = replace(controller._done[7], due=0.0)
    await controller.round()
    assert tries() == 2
    told = ("success", "1 training runs for the first time.")
    assert [server.status(head) for head in (locked, other)] == [told, told]
    assert (len(server.bodies(7)), len(server.bodies(8))) == (0, 1)
    propose(site, server, 9)
    del server.pulls[7]
    await controller.round()
    assert controller.troubles == {}


async def test_a_comment_has_the_collected_artifacts_of_what_a_request_changes(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    made = datetime(2026, 1, 1, tzinfo=UTC)
    entries = [
        CollectionEntry(
            key=TaskKey(digit * 40),
            kind=Kind.MODEL,
            namespace="default",
            name=name,
            step=CollectionStep.HIDE,
            size=2_000_000,
            made=made,
        )
        for name, digit in (("a", "1"), ("b", "2"))
    ]
    report = CollectionReport(enabled=True, artifacts=tuple(entries))
    state = controller.state

    def known() -> DaemonState | None:
        found = state()
        return replace(found, collection=report) if found is not None else None

    controller.state = known
    propose(site, server, 7)
    await controller.round()
    (body,) = server.bodies(7)
    assert f"- {SIGN} `Model default/a 111111111111` " in body
    assert "2222" not in body, "it is of an object that the request does not concern"
    assert "2 artifacts that nothing refers to, " in body


async def test_without_comments_only_the_status_is_given(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    head = propose(site, server, 7)
    config = controller.setup.config
    assert config.review is not None
    quiet = config.review.model_copy(update={"comment": False})
    controller.setup = replace(controller.setup, config=config.model_copy(update={"review": quiet}))
    await controller.round()
    assert (server.status(head) or ("",))[0] == "success"
    assert (server.bodies(7), server.said("list comments")) == ([], 0)


async def test_a_comment_that_somebody_deleted_is_written_anew(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    propose(site, server, 7)
    await controller.round()
    server.comments[7].clear()
    git(site.work, "push", "--quiet", "origin", ":refs/pull/7/head")
    propose(site, server, 7, lr=0.1)
    await controller.round()
    (body,) = server.bodies(7)
    assert "a.yaml" in body


async def test_a_head_that_cannot_be_fetched_is_an_error_in_the_end(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    gone = Commit("d" * 40)
    server.open(7, gone)
    for number in range(1, MOST_TRIES + 3):
        assert server.status(gone) is None or number > MOST_TRIES
        await controller.round()
    assert server.status(gone) == ("error", "It cannot be planned; the daemon's log says why")
    assert len(server.statuses[gone]) == 1
    assert server.bodies(7) == []
    server.open(7, propose(site, server, 7))
    await controller.round()
    assert len(server.bodies(7)) == 1


async def test_one_that_nobody_thought_of_does_not_end_the_following(
    site: Site,
    server: ForgeServer,
    controller: PullRequestController,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad, good = propose(site, server, 7), propose(site, server, 8)
    review = controller.planner.review

    def broken(known: DaemonState, head: Commit) -> Any:
        if head == bad:
            raise ZeroDivisionError
        return review(known, head)

    monkeypatch.setattr(controller.planner, "review", broken)
    for _ in range(MOST_TRIES):
        await controller.round()
    assert (server.status(bad) or ("",))[0] == "error"
    assert (server.status(good) or ("",))[0] == "success"


async def test_a_repository_that_is_damaged_is_made_anew(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    propose(site, server, 7)
    await controller.round()
    for pack in (site.root / "state/git/proposals.git/objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"damaged")
    head = propose(site, server, 8)
    await controller.round()
    assert (server.status(head) or ("",))[0] == "success"


async def test_the_comment_of_a_change_without_end_is_one_that_a_forge_takes(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    nasty = "@all " * 40
    many = [
        f"kind: Model\nmetadata: {{name: {'m' * 50}-{number}}}\nspec: {{source: {{model: "
        f"{{name: a}}}}, training: {{params: {{a: {nasty!r}}}, resources: {{cpu: 1}}}}}}\n"
        for number in range(1500)
    ]
    git(site.work, "checkout", "--quiet", "-B", "many", "main")
    for number in range(0, 1500, 300):
        site.write(f"many-{number}.yaml", "---\n".join(many[number : number + 300]))
    head = propose_as_it_is(site, server, 7)
    await controller.round()
    (body,) = server.bodies(7)
    assert 60_000 < len(body.encode()) <= 65_536
    assert "more objects" in body
    assert server.status(head) == ("success", "1,500 trainings run for the first time.")


def propose_as_it_is(site: Site, server: ForgeServer, number: int) -> Commit:
    head = Commit(site.propose(server.ref(number)))
    server.open(number, head)
    return head


def end_while_planning(folder: Path, head: Commit) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from reconciler.daemon.crash_record import CrashRecord\n"
        "with CrashRecord(pathlib.Path(sys.argv[1])).attempt(sys.argv[2]): os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder), head], check=False)
    assert done.returncode == 9


async def test_a_head_that_has_ended_the_daemon_is_not_planned_again(
    site: Site, server: ForgeServer, controller: PullRequestController
) -> None:
    bad, good = propose(site, server, 7), propose(site, server, 8)
    folder = site.root / "crashes"
    for _ in range(2):  # the second start finds both what has ended it and what was refused
        end_while_planning(folder, bad)
        controller.crashes = CrashRecord(folder)
    await controller.round()
    assert server.status(bad) == ("error", pull_requests.ENDED_THE_DAEMON)
    assert (server.status(good) or ("",))[0] == "success"
    newer = propose(site, server, 7, lr=0.1)
    await controller.round()
    assert (server.status(newer) or ("",))[0] == "success"
    assert good not in CrashRecord(folder), "what was planned to its end is not remembered"
