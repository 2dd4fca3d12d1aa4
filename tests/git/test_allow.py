"""The allow-list of sources: which URLs a glob means, and how one might try to get past it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.git.allow import matches
from reconciler.git.errors import GitError
from reconciler.git.url import normal_url


@pytest.mark.parametrize(
    ("glob", "allowed", "refused"),
    [
        ("https://*", ["https://host/a", "https://host:1/a/b"],
         ["http://host/a", "ssh://host/a", "host:a", "file:///a"]),
        ("ssh://*", ["ssh://git@host/a", "git@host:a/b", "host:a"], ["https://host/a"]),
        ("https://github.com/org/*", ["https://github.com/org/a", "https://github.com/org/a/b"],
         ["https://github.com/organ/a", "https://github.com/org", "https://github.com.evil/org/a",
          "https://evil/github.com/org/a", "https://github.com:444/org/a"]),
        ("https://github.com", ["https://github.com/a/b"], ["https://github.company/a"]),
        ("https://*.example.com/*", ["https://git.example.com/a", "https://a.b.example.com/a"],
         ["https://evil/x.example.com/a", "https://example.com/a", "https://evil:1/.example.com/a"]),
        ("https://*/org/*", ["https://host/org/a"], ["https://host/x/org/a"]),
        ("ssh://github.com/org/*", ["git@github.com:org/a", "ssh://git@github.com/org/a"],
         ["ssh://github.com@evil/org/a", "git@evil:github.com/org/a"]),
        ("ssh://git@github.com/*", ["git@github.com:a"], ["root@github.com:a", "github.com:a"]),
        ("git@github.com:org/*", ["git@github.com:org/a"], ["git@github.com:other/a"]),
        ("http://host/*", ["http://host/a"], ["https://host/a"]),
        ("*://host/*", ["https://host/a", "ssh://host/a"], ["http://host/a"]),
        ("*", ["https://host/a", "git@host:a"], ["http://host/a", "file:///a"]),
        ("file:///srv/*", ["file:///srv/a"], ["file:///etc/a", "file:///srvx/a"]),
        ("file://*", ["file:///a"], ["https://file/a"]),
        ("HTTPS://Host/Team/*", ["https://host/Team/a"], ["https://host/team/a"]),
    ],
)  # fmt: skip
def test_a_glob_means_these_and_not_those(
    glob: str, allowed: list[str], refused: list[str]
) -> None:
    for url in allowed:
        assert matches(normal_url(url), [glob]), url
    for url in refused:
        assert not matches(normal_url(url), [glob]), url


def test_nothing_is_allowed_by_an_empty_list() -> None:
    assert not matches("https://host/a", [])


_PIECES = st.sampled_from(
    ["https://", "HTTPS://", "ssh://", "good.example", "evil.example", "/", ":", "@", "..", "%2f",
     "%40", "%2e", "\\", "#", "?", "team", "443", "git", ".", "\n", "//", "good.example/team/"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=10).map("".join))
def test_whatever_is_allowed_is_on_that_host_and_in_that_folder(url: str) -> None:
    try:
        normal = normal_url(url)
    except GitError:
        return
    if matches(normal, ["https://good.example/team/*"]):
        assert normal.startswith("https://good.example/team/")
    if matches(normal, ["ssh://good.example/team/*"]):
        host, _, path = normal.removeprefix("ssh://").rpartition("@")[2].partition("/")
        assert host in ("good.example", "good.example:team"), normal
        assert path.startswith("team/") or host.endswith(":team")
