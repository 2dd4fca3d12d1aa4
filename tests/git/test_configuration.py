"""A daemon's Git as its configuration has it: the real command against real servers."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.config import load_setup
from reconciler.errors import GitError
from reconciler.git.credentials import Credential
from reconciler.reasons import UnresolvedSource
from reconciler.types import GitSource
from reconciler.workspace import credential_table, source_reader
from tests.e2e.site import Site, git
from tests.git.conftest import need_sshd
from tests.git.history import History, Script
from tests.git.remotes import HttpRemote, SshRemote, make_bare

SECRET = "the-push-token"  # a test's own


@pytest.fixture
def site(tmp_path: Path) -> Site:
    root = tmp_path / "site"
    root.mkdir()
    return Site(root)


def model(site: Site, url: str, branch: str = "main") -> None:
    """A Model that is trained from a source repository."""
    site.write(
        "a.yaml",
        "kind: Model\nmetadata: {name: a}\nspec:\n"
        f"  source: {{git: {{url: '{url}', branch: {branch}}}}}\n"
        f"  training: {{mode: Scratch, env: {site.env('a')}}}\n",
    )
    site.push()


def source(site: Site, name: str = "source.git") -> History:
    history = History(make_bare(site.root, name))
    script = '#!/bin/sh\necho "$SITE_NAME 1 -" >> "$SITE_LEDGER"\necho w > "$MODEL_DIR/weights"\n'
    history.commit({"train.sh": Script(script)})
    return history


def test_a_repository_behind_a_password_and_a_source_beside_it_are_served_over_http(
    site: Site,
) -> None:
    git(site.remote, "config", "http.receivepack", "true")
    source(site)
    model(site, "../source.git")
    with closing(HttpRemote(site.root, password=("bot", SECRET))) as server:
        (site.root / "token").write_text(f"{SECRET}\n")
        credentials = {"username": "bot", "passwordFile": "token"}
        config: dict[str, Any] = {
            "repository": {"url": server.url("manifests.git"), "credentials": credentials},
            "sources": {"allow": [f"{server.origin}/*"]},
        }
        site.configure(**config)
        done = site.run_once("--patience", "1s")
        assert done.returncode == 3
        reason = site.statuses()["a"]["message"]
        assert site.phases() == {"a": "Waiting"}, "the push credential is for its repository only"
        assert "source.git" in reason
        assert "no credentials are configured" in reason
        assert SECRET not in done.stderr + reason

        (site.root / "read-token").write_text(SECRET)
        config["sources"]["credentials"] = [
            {"prefix": server.origin, "username": "bot", "passwordFile": "read-token"}
        ]
        site.configure(**config)
        done = site.run_once()
        assert (done.returncode, site.phases()) == (0, {"a": "Ready"}), done.stderr
        assert site.ran() == {"a": 1}
        assert SECRET not in done.stderr


def test_a_repository_and_its_sources_are_served_over_ssh(site: Site) -> None:
    need_sshd()
    source(site)
    model(site, "../source.git")
    with closing(SshRemote(site.root)) as server:
        keys = {
            "sshKeyFile": str(server.keys / "client"),
            "knownHostsFile": str(server.keys / "known_hosts"),
        }
        site.configure(
            repository={"url": server.url("manifests.git"), "credentials": keys},
            sources={"credentials": [{"prefix": f"ssh://127.0.0.1:{server.port}", **keys}]},
        )
        done = site.run_once()
        assert (done.returncode, site.phases()) == (0, {"a": "Ready"}), done.stderr


def test_a_source_over_plain_http_is_refused_unless_it_is_allowed_by_name(site: Site) -> None:
    model(site, "http://127.0.0.1:1/a")
    assert site.run_once().returncode == 3
    assert "sources.allow" in site.statuses()["a"]["message"]


def test_credentials_in_the_repositorys_url_are_refused_without_repeating_them(site: Site) -> None:
    site.configure(repository={"url": "https://bot:hunter2@127.0.0.1:1/a.git"})
    done = site.run_once()
    assert done.returncode != 0
    assert "credentials do not belong in a URL" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


def test_the_table_is_made_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").write_text(
        "repository:\n  url: https://host/team/manifests\n"
        "  credentials: {passwordFile: push}\n"
        "sources:\n  credentials:\n"
        "  - {prefix: 'https://host', passwordFile: read}\n"
        "  - {prefix: 'https://host/team', passwordFile: team}\n"
    )
    setup = load_setup(tmp_path / "reconciler.yaml", {})
    table = credential_table(setup)
    for url, file in {
        "https://host/team/manifests": "push",
        "https://host/team/manifests2": "team",
        "https://host/teams/a": "read",
    }.items():
        found = table.find(url)
        assert found is not None
        assert found.password_file == tmp_path / file
    request = GitSource(url="https://host/team/a")
    where = source_reader(setup).resolve([request])[request]
    assert isinstance(where, UnresolvedSource)


def credential_of(folder: Path, password_file: str) -> Credential:
    """The credential of a repository with this passwordFile."""
    (folder / "reconciler.yaml").write_text(
        "repository:\n  url: https://127.0.0.1:1/a\n"
        f"  credentials: {{passwordFile: {password_file}}}\n"
    )
    table = credential_table(load_setup(folder / "reconciler.yaml", {}))
    found = table.find("https://127.0.0.1:1/a")
    assert found is not None
    return found


def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    credential = credential_of(tmp_path, "missing")
    with pytest.raises(GitError, match="missing cannot be read"):
        credential.password()


def test_a_password_in_a_mounted_secret_is_read_where_its_links_lead_now(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()

    def mounted(version: str) -> None:
        """As a kubelet does it: a new folder, a link put in place at once, the old one gone."""
        before = mount.joinpath("..data").resolve()
        (mount / f"..{version}").mkdir()
        (mount / f"..{version}/token").write_text(version)
        (mount / "..new").symlink_to(f"..{version}")
        (mount / "..new").rename(mount / "..data")
        if before.name != "..data":
            shutil.rmtree(before)

    mounted("first")
    (mount / "token").symlink_to("..data/token")
    credential = credential_of(tmp_path, "mount/token")
    assert credential.password() == "first"
    mounted("second")
    assert credential.password() == "second"
