"""An open pull request keeps the artifacts that it asks for, until it is closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.site import Site, git, until
from tests.e2e.test_pull_requests import configure, propose
from tests.forge.gitlab_server import forge_server
from tests.forge.server import ForgeServer
from tests.git.remotes import HttpRemote

RETENTION = {"enabled": True, "keep": 1, "days": 0, "maxShare": 1.0}


@pytest.fixture
def forge() -> Iterator[ForgeServer]:
    with forge_server("gitea") as found:
        yield found


@pytest.fixture
def team(site: Site, forge: ForgeServer) -> Iterator[Site]:
    """A Model that was trained three times, with epochs 1, 2 and 3, and is followed on a forge."""
    for epochs in (1, 2, 3):
        site.trained("a", params={"epochs": epochs})
        assert site.sync().returncode == 0
    git(site.remote, "config", "http.receivepack", "true")
    with closing(HttpRemote(site.root)) as remote:
        configure(site, forge, remote)
        site.configure_more(retention=RETENTION)
        yield site


def complete(team: Site) -> list[bool]:
    """Whether each artifact is there that was made, the oldest first."""
    made = [entry for entry in team.statuses()["a"]["history"] if "artifact" in entry]
    folders = [Path(entry["artifact"].removeprefix("file://")) for entry in made]
    return [(folder / "completed.json").exists() for folder in folders]


def ask_for_the_oldest(team: Site, forge: ForgeServer) -> None:
    git(team.work, "checkout", "--quiet", "-b", "back")
    team.edit("a.yaml", '"epochs": 3', '"epochs": 1')
    propose(team, forge, 7, "Go back to the first artifact")


def test_an_open_request_keeps_its_artifacts_and_a_closed_one_does_not(
    team: Site, forge: ForgeServer
) -> None:
    ask_for_the_oldest(team, forge)
    with team.running():
        until(lambda: complete(team) == [True, False, True], what="the second to be hidden")
    forge.end(7)
    with team.running():
        until(lambda: complete(team) == [False, False, True], what="the first to be hidden")
    assert len(team.started()) == 3, "a training ran again"


def test_nothing_is_collected_until_the_forge_answers(team: Site, forge: ForgeServer) -> None:
    ask_for_the_oldest(team, forge)
    forge.fault = lambda _: (503, {}, b"")
    with team.running():
        until(lambda: "collection.json" in _files(team), what="the report")
        assert "list of pull requests" in team.show("collection.json")
        assert complete(team) == [True, True, True]
        forge.fault = lambda _: None
        until(lambda: complete(team) != [True, True, True], what="a later collection")
        assert complete(team) == [True, False, True], "it knew the open request"


def _files(team: Site) -> str:
    return git(team.remote, "ls-tree", "--name-only", team.branch)
