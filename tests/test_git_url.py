"""URLs from manifests: what they mean beside another, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import GitError
from reconciler.urls import (
    has_prefix,
    host_of,
    local_path,
    normal_url,
    redact,
    resolve_url,
    split_ssh,
)
from tests.e2e.site import git

BASES = [
    "https://host/team/a",
    "https://host:8443/team/a.git",
    "ssh://git@host/team/a.git",
    "git@host:team/a.git",
    "git@host:/srv/a.git",
    "host:deep/er/a",
    "file:///srv/team/a",
]
RELATIVES = ["../b", "./b", "../../b/c", "../b.git", "./b/../c", ".././b", "../../c"]


@pytest.mark.parametrize("base", BASES)
def test_a_relative_url_is_what_git_makes_of_it_in_a_submodule(base: str, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", base)
    modules = ""
    for number, relative in enumerate(RELATIVES):
        modules += f'[submodule "m{number}"]\n\tpath = m{number}\n\turl = {relative}\n'
        link = f"160000,{'1' * 40},m{number}"
        git(tmp_path, "update-index", "--add", "--cacheinfo", link)
    (tmp_path / ".gitmodules").write_text(modules)
    subprocess.run(["git", "submodule", "init"], cwd=tmp_path, check=True, capture_output=True)
    for number, relative in enumerate(RELATIVES):
        meant = git(tmp_path, "config", f"submodule.m{number}.url").strip()
        if "/../" in meant or "/./" in meant:  # git keeps what comes after the beginning
            meant = meant.replace("/b/../", "/").replace("/./", "/")
        assert resolve_url(base, relative) == meant, relative


@pytest.mark.parametrize("base", BASES)
def test_a_relative_url_that_leads_out_of_its_host_is_refused(base: str) -> None:
    for relative in ("../../../../../../b", "../" * 9, ".." + "/.." * 7 + "/etc"):
        with pytest.raises(GitError, match="leads out of"):
            resolve_url(base, relative)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://Host/team/a/", "https://host/team/a"),
        ("HTTPS://host:443/a", "https://host/a"),
        ("http://host:80/a", "http://host/a"),
        ("ssh://git@HOST:22/a", "ssh://git@host/a"),
        ("ssh://host:2222/~me/a", "ssh://host:2222/~me/a"),
        ("https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
        ("git@Host:team/a", "git@host:team/a"),
        ("Host:a", "host:a"),
        ("/srv/a", "file:///srv/a"),
        ("//srv//a", "file:///srv/a"),
        ("file://localhost/srv/a", "file:///srv/a"),
        ("FILE:///srv/a/", "file:///srv/a"),
        ("file:////srv//a", "file:///srv/a"),
        ("https://dev.azure.com/org/My%20Project/_git/a",
         "https://dev.azure.com/org/My%20Project/_git/a"),
    ],
)  # fmt: skip
def test_a_url_has_one_normal_form(url: str, normal: str) -> None:
    assert normal_url(url) == normal
    assert normal_url(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "", "a", "a/b", "-a", "--upload-pack=touch /tmp/x", ".git",
        "ext::sh -c touch% /tmp/x", "ext::sh", "fd::17", "file::/srv/a", "transport::https://a/b",
        "ftp://host/a", "git://host/a", "git+ssh://host/a", "javascript://host/a",
        "ssh://-oProxyCommand=touch/a", "ssh://-host/a", "ssh://-u@host/a", "-oProxyCommand=x:a",
        "-host:a", "-u@host:a", "host:-a", "ssh://u%20-o@host/a", "ssh://u;x@host/a", "ssh:///a",
        "https:///a", "https://", "https://@/a", "https://host:0/a", "https://host:99999/a",
        "https://host:x/a", "https://ho st/a", "https://host/a\nb", "https://host/a\r", "\thttps://host/a",
        "https://host/a\0", "https://host/a\x1b[0m", "https://host\\@evil/a", "https://host/a\\..\\b",
        "https://host/a?x", "https://host/a#x", "https://host/a?", "https://host/a#",
        "https://user@host/a", "https://user:secret@host/a", "https://:secret@host/a",
        "https://github.com@evil/a", "ssh://git:secret@host/a", "https://@host/a",
        "https://host/a/../b", "https://host/..", "https://host/a/%2e%2e/b", "https://host/%2E./b",
        "https://host/a%2fb", "https://host/a%2F..%2Fb", "https://host/%252e%252e/b", "file:///a/%2e%2e/b",
        "https://host/a%0ab", "https://host/a%00b", "https://host/a%5cb", "https://host/a//b",
        "https://host/%ff", "https://hos\u0442/a", "https://host\u2024com/a", "https://host/\u202ea",
        "git@host:../a", "git@host:a/../../b", "git@host:a%2e", "git@host:", "git@host:a:b",
        "git@host@evil:a", "git@host:evil@a",
        "ann:secret@host/a", "a b:c", "file://host/srv/a", "file://host:1/a", "file:///srv/../etc",
        "/srv/../etc", "/srv/./a", "/srv/%2e%2e/a", "/srv/a\n", "https://-host/a", "https://host-/a",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(GitError) as caught:
        resolve_url("https://host/team/a", url)
    assert "secret" not in str(caught.value)


_PIECES = st.sampled_from(
    ["https://", "ssh://", "file://", "http://", "git@", "host", "evil", ":", "/", "//", "..", ".",
     "%2e", "%2f", "@", "-", "?", "#", "\\", "\n", "a", "b", "~", "[", "]", "::", "ext", "22", "é"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=9).map("".join) | st.text(max_size=30))
def test_a_url_that_passes_is_of_a_known_kind_and_is_its_own_normal_form(url: str) -> None:
    try:
        normal = normal_url(url)
    except GitError:
        return
    assert normal_url(normal) == normal
    assert normal.startswith(("https://", "http://", "ssh://", "file:///")) or ":" in normal
    assert not normal.startswith("-")
    assert not any(part in (".", "..") for part in normal.split("/"))
    assert bool(host_of(normal)) != normal.startswith("file://")
    ssh = split_ssh(normal)
    if ssh is not None:
        assert not ssh[0].startswith("-")
        assert not ssh[1].removeprefix("ssh://").startswith("-")
        assert "@" not in ssh[1].split("/")[0 if ":" in ssh[1].split("/")[0] else 2]


_NAMES = st.text("abc.-_~", min_size=1, max_size=4).filter(lambda t: t.strip(".") == t)
_PATHS = st.lists(_NAMES, min_size=1, max_size=4)


@given(_PATHS, _PATHS)
def test_a_prefix_covers_whole_components_only(path: list[str], prefix: list[str]) -> None:
    covers = path[: len(prefix)] == prefix
    url, start = "/".join(path), "/".join(prefix)
    assert has_prefix(f"https://h/{url}", f"https://h/{start}") == covers
    assert has_prefix(f"git@h:{url}", f"ssh://h/{start}/") == covers
    assert not has_prefix(f"https://h/{url}", f"http://h/{start}")
    assert not has_prefix(f"https://h.x/{url}", f"https://h/{start}")


def test_a_local_path_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "a b%c#d"
    assert normal_url(folder.as_uri()) == folder.as_uri()
    assert local_path(folder.as_uri()) == folder
    assert local_path(resolve_url(folder.as_uri(), "../b")) == tmp_path / "b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://ann:secret@host/a?token=b c", "at https://host/a?… c"),
        ("https://a://b?c", "https://a://b?…"),
        ("https://a?b://c?d", "https://a?…"),
        ("https://a? and #b", "https://a? and #b"),
        ("https://a#b\nhttps://c?d", "https://a#…\nhttps://c?…"),
    ],
)
def test_secrets_of_every_url_in_a_text_are_removed(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_text_as_large_as_a_manifest_is_redacted_in_one_pass() -> None:
    """Each :// was searched to the end of its word: hours, of a value of 1 MiB."""
    text = "://" * 350_000
    assert redact(text) == text
    assert redact(f"{text}?secret") == f"{text}?…"
