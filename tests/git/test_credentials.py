"""Who is asked with what: the right credential, read anew each time, and told to nobody else."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from reconciler.errors import GitError
from reconciler.git.credentials import Credential, CredentialTable
from reconciler.git.transport import Transport
from tests.git.conftest import TIMEOUT
from tests.git.copies import mirror_at
from tests.git.history import History
from tests.git.remotes import HttpRemote, SshRemote, make_bare, make_key
from tests.planted import assert_without

SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def guarded(http: HttpRemote) -> HttpRemote:
    """A server that wants a password, with one commit in ``a.git``."""
    History(make_bare(http.root)).commit({"a.yaml": ""})
    http.password = ("bot", SECRET)
    return http


def transport(table: CredentialTable, tmp_path: Path) -> Transport:
    return Transport(table, tmp_path / "home", TIMEOUT)


def refusal(table: CredentialTable, url: str, tmp_path: Path) -> str:
    with pytest.raises(GitError) as caught:
        transport(table, tmp_path).list_refs(url)
    return str(caught.value)


# -- over HTTP ---------------------------------------------------------------------------------


def test_a_configured_password_is_accepted(guarded: HttpRemote, tmp_path: Path) -> None:
    refs = transport(guarded.credentials(), tmp_path).list_refs(guarded.url("a.git"))
    assert refs.head == "refs/heads/main"


def test_a_refused_password_is_told_with_the_url_and_without_the_password(
    guarded: HttpRemote, tmp_path: Path
) -> None:
    guarded.password = ("bot", "another")
    table = CredentialTable([_password(tmp_path, guarded.origin, SECRET)])
    said = refusal(table, guarded.url("a.git"), tmp_path)
    assert said.startswith(f"{guarded.url('a.git')} cannot be read: authentication was refused")
    assert SECRET not in said
    assert SECRET not in repr(table)


def test_a_server_that_repeats_the_password_does_not_get_it_into_the_error(
    guarded: HttpRemote, tmp_path: Path
) -> None:
    guarded.answer = lambda _: (500, f"your password {SECRET} is known to everybody")
    said = refusal(guarded.credentials(), guarded.url("a.git"), tmp_path)
    assert SECRET not in said


@pytest.mark.parametrize("told", ["{}", "{:.20}…", "x {}=="])
def test_a_server_that_repeats_the_header_does_not_get_it_into_the_error(
    guarded: HttpRemote, tmp_path: Path, told: str
) -> None:
    sent = base64.b64encode(f"bot:{SECRET}".encode()).decode()

    def answer(_: str) -> tuple[int, str] | None:
        asked = guarded.requests[-1][1]
        return (403, f"denied for Basic {told.format(sent)}") if asked else None

    guarded.answer = answer
    said = refusal(guarded.credentials(), guarded.url("a.git"), tmp_path)
    assert "denied for Basic" in said
    assert_without(SECRET, said)


def test_missing_credentials_are_told(guarded: HttpRemote, tmp_path: Path) -> None:
    said = refusal(CredentialTable(), guarded.url("a.git"), tmp_path)
    assert "it wants authentication, and no credentials are configured for it" in said


def test_a_password_that_was_rotated_is_used_by_the_next_fetch(
    guarded: HttpRemote, tmp_path: Path
) -> None:
    history = History(guarded.root / "a.git")
    table = guarded.credentials()
    mirror = mirror_at(tmp_path / "mirror.git", guarded.url("a.git"), credentials=table)
    mirror.fetch()
    guarded.password = ("bot", "rotated")
    with pytest.raises(GitError, match="authentication was refused"):
        mirror.fetch()
    file = table.credentials[0].password_file
    assert file is not None
    file.write_text("rotated")
    newer = history.commit({"a.yaml": "more"})
    assert mirror.fetch() == newer


@pytest.mark.parametrize("text", [None, "", "\n", "two\nlines"])
def test_a_password_file_without_one_password_is_told_by_its_name(
    text: str | None, guarded: HttpRemote, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
    table = CredentialTable([Credential(prefix=guarded.origin, password_file=file)])
    assert str(file) in refusal(table, guarded.url("a.git"), tmp_path)


def test_a_password_is_on_no_command_line(guarded: HttpRemote, tmp_path: Path) -> None:
    seen: list[str] = []

    def look(_: str) -> None:
        processes = psutil.process_iter(["cmdline"])
        seen.extend(" ".join(process.info["cmdline"] or []) for process in processes)

    guarded.before = look
    transport(guarded.credentials(), tmp_path).list_refs(guarded.url("a.git"))
    assert any("ls-remote" in line for line in seen)
    assert not any(SECRET in line for line in seen)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[HttpRemote]:
    root = tmp_path / "elsewhere"
    root.mkdir()
    with closing(HttpRemote(root)) as server:
        yield server


def test_a_redirect_to_another_host_is_refused_and_that_host_is_never_asked(
    guarded: HttpRemote, elsewhere: HttpRemote, tmp_path: Path
) -> None:
    History(make_bare(elsewhere.root)).commit({"a.yaml": ""})
    guarded.redirect = lambda path: f"{elsewhere.origin}{path}"
    said = refusal(guarded.credentials(), guarded.url("a.git"), tmp_path)
    assert "it sends on to another place, which is not followed" in said
    assert elsewhere.requests == []


def test_a_redirect_on_the_same_host_is_followed_with_that_places_credentials(
    guarded: HttpRemote, tmp_path: Path
) -> None:
    def redirect(path: str) -> str | None:
        return path.replace("/a/", "/a.git/") if path.startswith("/a/") else None

    guarded.redirect = redirect
    there = transport(guarded.credentials(), tmp_path)
    assert there.list_refs(guarded.url("a")).head == "refs/heads/main"
    wrong = CredentialTable([_password(tmp_path, guarded.url("a"), SECRET)])
    assert "no credentials are configured" in refusal(wrong, guarded.url("a"), tmp_path)


def test_a_redirect_to_what_is_not_allowed_is_refused_and_told(
    guarded: HttpRemote, tmp_path: Path
) -> None:
    make_bare(guarded.root, "private/b.git")
    guarded.redirect = lambda path: path.replace("/a.git/", "/private/b.git/", 1)
    there = transport(guarded.credentials(), tmp_path)
    there.allowed = lambda url: "private" not in url
    with pytest.raises(GitError, match=r"redirects to http://.*/private/b.git, which is not in"):
        there.list_refs(guarded.url("a.git"))
    assert not [path for path, _ in guarded.requests if "private" in path]


@pytest.mark.parametrize(
    "location",
    ["file:///etc/info/refs", "//127.0.0.1:1/a/info/refs", "/a", ""],
)
def test_a_strange_redirect_is_not_followed(
    location: str, guarded: HttpRemote, tmp_path: Path
) -> None:
    guarded.redirect = lambda _: location
    refusal(guarded.credentials(), guarded.url("a.git"), tmp_path)
    assert {path for path, _ in guarded.requests} == {"/a.git/info/refs?service=git-upload-pack"}


def test_a_password_is_sent_to_its_prefix_only(guarded: HttpRemote, tmp_path: Path) -> None:
    make_bare(guarded.root, "team/a.git")
    make_bare(guarded.root, "teams/a.git")
    table = CredentialTable([_password(tmp_path, guarded.url("team"), SECRET, user="bot")])
    there = transport(table, tmp_path)
    there.list_refs(guarded.url("team/a.git"))
    guarded.requests.clear()
    with pytest.raises(GitError):
        there.list_refs(guarded.url("teams/a.git"))
    assert [authorization for _, authorization in guarded.requests] == [None]


def test_nothing_of_the_users_own_configuration_is_used(
    guarded: HttpRemote, elsewhere: HttpRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "user"
    home.mkdir()
    (home / ".netrc").write_text(f"machine 127.0.0.1 login bot password {SECRET}\n")
    (home / ".gitconfig").write_text(f'[url "{elsewhere.origin}/"]\n\tinsteadOf = {guarded.origin}')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'http.extraHeader=X: y'")
    assert "no credentials are configured" in refusal(
        CredentialTable(), guarded.url("a.git"), tmp_path
    )
    assert elsewhere.requests == []


def _password(tmp_path: Path, prefix: str, password: str, user: str = "bot") -> Credential:
    file = tmp_path / "the-password"
    file.write_text(password)
    return Credential(prefix=prefix, username=user, password_file=file)


# -- over ssh ----------------------------------------------------------------------------------


@pytest.fixture
def shell(ssh: SshRemote) -> SshRemote:
    """An ssh server with one commit in ``a.git``."""
    History(make_bare(ssh.root)).commit({"a.yaml": ""})
    return ssh


def test_an_ssh_key_that_was_rotated_is_used_by_the_next_look_up(
    shell: SshRemote, tmp_path: Path
) -> None:
    there, url = transport(shell.credentials(), tmp_path), shell.url("a.git")
    there.list_refs(url)
    make_key(shell.keys / "client")
    with pytest.raises(GitError, match="authentication was refused") as caught:
        there.list_refs(url)
    assert url.split("@")[1] in str(caught.value)
    (shell.keys / "authorized_keys").write_text((shell.keys / "client.pub").read_text())
    there.list_refs(url)


def test_a_host_whose_key_is_not_known_is_refused(
    shell: SshRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shell.keys / "known_hosts").write_text("")
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -o StrictHostKeyChecking=no")
    monkeypatch.setenv("GIT_SSH", "ssh")
    said = refusal(shell.credentials(), shell.url("a.git"), tmp_path)
    assert "its host key is not a known one" in said
    assert (shell.keys / "known_hosts").read_text() == ""


def test_a_host_whose_key_has_changed_is_refused_until_the_new_one_is_configured(
    shell: SshRemote, tmp_path: Path
) -> None:
    there, url = transport(shell.credentials(), tmp_path), shell.url("a.git")
    there.list_refs(url)
    make_key(shell.keys / "host")
    with pytest.raises(GitError, match="its host key is not a known one"):
        there.list_refs(url)
    shell.trust()
    there.list_refs(url)


def test_known_hosts_of_one_remote_do_not_unsettle_another(
    shell: SshRemote, tmp_path: Path
) -> None:
    """libgit2 had one known-hosts file for the whole process, the last one set."""
    strange = tmp_path / "strange"
    strange.write_text("")
    url = shell.url("a.git")
    other = CredentialTable([Credential(prefix="ssh://other", known_hosts_file=strange)])
    refusal(other, url, tmp_path / "other")
    transport(shell.credentials(), tmp_path / "one").list_refs(url)
    refusal(other, url, tmp_path / "other")


def test_an_ssh_url_without_a_configured_key_offers_none(shell: SshRemote, tmp_path: Path) -> None:
    table = CredentialTable(
        [Credential(prefix="ssh://x", known_hosts_file=shell.keys / "known_hosts")]
    )
    said = refusal(table, shell.url("a.git"), tmp_path)
    assert "no credentials are configured for it" in said


def test_a_key_that_others_can_read_is_told(shell: SshRemote, tmp_path: Path) -> None:
    (shell.keys / "client").chmod(0o644)
    said = refusal(shell.credentials(), shell.url("a.git"), tmp_path)
    assert "can be read by others" in said
    assert "defaultMode" in said


def test_a_configured_user_name_stands_before_that_of_the_url(
    shell: SshRemote, tmp_path: Path
) -> None:
    credential = Credential(
        prefix=f"ssh://127.0.0.1:{shell.port}",
        username=shell.url("a.git").removeprefix("ssh://").split("@")[0],
        ssh_key_file=shell.keys / "client",
        known_hosts_file=shell.keys / "known_hosts",
    )
    url = shell.url("a.git").replace("ssh://", "ssh://nobody-", 1)
    transport(CredentialTable([credential]), tmp_path).list_refs(url)


def test_keys_and_hosts_may_lie_in_a_folder_with_a_strange_name(
    shell: SshRemote, tmp_path: Path
) -> None:
    folder = tmp_path / "a b%h'c"
    shutil.copytree(shell.keys, folder)
    credential = Credential(
        prefix=f"ssh://127.0.0.1:{shell.port}",
        ssh_key_file=folder / "client",
        known_hosts_file=folder / "known_hosts",
    )
    there = Transport(CredentialTable([credential]), tmp_path / "a %h's home", TIMEOUT)
    there.list_refs(shell.url("a.git"))


# -- which one ---------------------------------------------------------------------------------


def test_the_longest_prefix_is_the_one() -> None:
    prefixes = ["https://host", "https://host/team", "https://host/team/a", "https://host/te"]
    table = CredentialTable([Credential(prefix=p, username="x") for p in prefixes])
    for url, prefix in {
        "https://host/team/a": "https://host/team/a",
        "https://host/team/ab": "https://host/team",
        "https://host/teams/a": "https://host",
        "https://host:443/team/a/b": "https://host/team/a",
    }.items():
        found = table.find(url)
        assert found is not None
        assert found.prefix == prefix, url
    for url in ("http://host/team/a", "https://hosts/team/a", "https://host:8443/team/a",
                "ssh://host/team/a", "host:team/a", "https://host.evil/team/a"):  # fmt: skip
        assert table.find(url) is None, url


def test_a_repository_without_credentials_of_its_own_takes_those_of_a_prefix() -> None:
    table = CredentialTable(
        [Credential(prefix="https://host/a"), Credential(prefix="https://host", username="x")]
    )
    found = table.find("https://host/a")
    assert found is not None
    assert found.username == "x"
