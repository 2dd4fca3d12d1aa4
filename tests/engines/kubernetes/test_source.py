"""The fetch of a build's source: its submodules, and what sources.allow refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pytest

from reconciler.engines.kubernetes.build_pod import allow_list
from reconciler.git import normal_url
from reconciler.urls import admits_url
from tests.git.history import Content, Gitlink, History
from tests.git.remotes import HttpRemote, make_bare
from tests.patience import PATIENCE
from tests.processes import run

SCRIPT = resources.files("reconciler.engines.kubernetes").joinpath("source.sh").read_text()
SHELLS = [["sh"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]


@dataclass
class Site:
    """A server with repositories, each of one commit, and what a pod fetches of them."""

    folder: Path
    remote: HttpRemote
    commits: dict[str, str] = field(default_factory=dict)

    def commit(self, name: str, files: dict[str, Content], **modules: str) -> str:
        """Make a repository with submodules, by the URL of each; returns its URL."""
        history = History(make_bare(self.folder, name))
        texts = [f'[submodule "{m}"]\npath = {m}\nurl = {url}\n' for m, url in modules.items()]
        links = {m: Gitlink(self.commits.get(url, "1" * 40)) for m, url in modules.items()}
        more: dict[str, Content] = {".gitmodules": "".join(texts), **links} if modules else {}
        url = self.remote.url(name)
        self.commits[url] = self.commits[name] = history.commit({**files, **more})
        return url

    def fetch(self, url: str, *allow: str, own: bool = False) -> tuple[str, str] | None:
        """Fetch a source; returns the class and reason for the kubelet if that fails."""
        work = self.folder / "work"
        work.mkdir()
        said = work / "termination-log"
        script = SCRIPT.replace("/tmp/", f"{work}/").replace("HOME=/tmp", f"HOME={work}")
        script = script.replace("/dev/termination-log", str(said))
        ended = subprocess.run(
            ["sh", "-c", script, "source"],
            env={
                "PATH": os.environ["PATH"],
                "FOLDER": str(work),
                "SOURCE_URL": url,
                "SOURCE_HOST": self.remote.origin,
                "SOURCE_COMMIT": self.commits[url],
                "SOURCE_SUBMODULES": "true",
                "SOURCE_OWN": "true" if own else "false",
                "SOURCE_ALLOW": allow_list(allow),
            },
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        if ended.returncode == 0:
            return None
        message = json.loads(said.read_text())
        assert ended.returncode == 210, ended.stderr
        return message["class"], message["reason"]

    @property
    def files(self) -> dict[str, str]:
        """The files that were fetched."""
        context = self.folder / "work" / "context"
        found = (file for file in context.rglob("*") if file.is_file())
        return {file.relative_to(context).as_posix(): file.read_text() for file in found}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with closing(HttpRemote(tmp_path)) as remote:
        yield Site(tmp_path, remote)


REFUSED = ("command", "SourceInvalid")
AWAY = ("infrastructure", "SourceUnavailable")


def test_submodules_of_an_allowed_host_are_fetched_at_any_depth(site: Site) -> None:
    deepest = site.commit("c.git", {"f": "c"})
    inner = site.commit("b.git", {"f": "b"}, deeper=deepest)
    source = site.commit("a.git", {"f": "a"}, m=inner, n=deepest)
    assert site.fetch(source, "http://127.0.0.1:*/*") is None
    files = {name: text for name, text in site.files.items() if name.endswith("f")}
    assert files == {"f": "a", "m/f": "b", "m/deeper/f": "c", "n/f": "c"}


def test_a_relative_submodule_is_resolved_as_git_does(site: Site) -> None:
    inner = site.commit("b.git", {"f": "b"})
    site.commits["../b.git"] = site.commits[inner]
    source = site.commit("a.git", {"f": "a"}, m="../b.git")
    assert site.fetch(source, "http://127.0.0.1:*/*") is None
    assert site.files["m/f"] == "b"


@pytest.mark.parametrize("depth", [1, 2])
def test_a_submodule_that_is_not_allowed_is_refused(site: Site, depth: int) -> None:
    inner = site.commit("secret.git", {"f": "b"})
    for number in range(depth):
        inner = site.commit(f"a{number}.git", {"f": "a"}, m=inner)
    asked: list[str] = []
    site.remote.before = asked.append
    assert site.fetch(inner, "http://127.0.0.1:*/a*", "https://*", "ssh://*") == REFUSED
    assert not [path for path in asked if "secret" in path]


@pytest.mark.parametrize(
    "url",
    [
        "file:///m",
        "http://127.0.0.1:1/a b",
        "http://127.0.0.1:1/a\\nhttp://127.0.0.1:1/b",
        "http://user:word@127.0.0.1:1/a",
        "ext::sh",
    ],
)
def test_a_submodule_with_a_url_of_two_readings_is_refused(site: Site, url: str) -> None:
    source = site.commit("a.git", {"f": "a"}, m=f'"{url}"')
    assert site.fetch(source, "http://127.0.0.1:*/*", "*") == REFUSED


def test_a_submodule_that_is_away_is_not_the_build_s_fault(site: Site) -> None:
    source = site.commit("a.git", {"f": "a"}, m="http://127.0.0.1:1/m")
    assert site.fetch(source, "http://127.0.0.1:*/*") == AWAY


def test_more_levels_of_submodules_than_the_daemon_exports_are_refused(site: Site) -> None:
    inner = site.commit("z.git", {"f": "z"})
    for number in range(6):
        inner = site.commit(f"a{number}.git", {}, m=inner)
    assert site.fetch(inner, "http://127.0.0.1:*/*") == REFUSED


@pytest.mark.parametrize("moved", ["a", "m"])
def test_a_redirect_on_the_same_host_is_followed(site: Site, moved: str) -> None:
    inner = site.commit("m.git", {"f": "m"})
    site.commits[site.remote.url("m")] = site.commits[inner]
    source = site.commit("a.git", {"f": "a"}, m=site.remote.url("m" if moved == "m" else "m.git"))
    site.commits[site.remote.url("a")] = site.commits[source]
    site.remote.redirect = lambda path: (
        path.replace(f"/{moved}/", f"/{moved}.git/") if path.startswith(f"/{moved}/") else None
    )
    at = site.remote.url("a" if moved == "a" else "a.git")
    assert site.fetch(at, "http://127.0.0.1:*/*") is None
    assert site.files["m/f"] == "m"


@pytest.mark.parametrize(("own", "told"), [(True, None), (False, AWAY)])
def test_a_source_s_redirect_keeps_to_the_allow_list_but_for_the_own_repository(
    site: Site, own: bool, told: tuple[str, str] | None
) -> None:
    site.commits[site.remote.url("a")] = site.commits[site.commit("b.git", {"f": "b"})]
    site.remote.redirect = lambda path: path.replace("/a/", "/b.git/") if "/a/" in path else None
    assert site.fetch(site.remote.url("a"), "http://127.0.0.1:*/a*", own=own) == told


@pytest.mark.parametrize("moved", ["a", "m"])
def test_a_redirect_to_another_host_is_not_followed(
    site: Site, moved: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with closing(HttpRemote(tmp_path_factory.mktemp("other"))) as other:
        inner = site.commit("m.git", {"f": "m"})
        source = site.commit("a.git", {"f": "a"}, m=inner)
        site.remote.redirect = lambda path: (
            other.url(path.lstrip("/")) if path.startswith(f"/{moved}.git/") else None
        )
        assert site.fetch(source, "*", "http://*") == AWAY
        assert not other.requests


ADMITS = re.search(r"(?ms)^admits\(\) \{.*?^\}$", SCRIPT)
GLOBS = [
    "*",
    "https://*",
    "http://*",
    "http://127.0.0.1:*/*",
    "https://*.example.com/*",
    "https://git.example.com",
    "https://git.example.com:8443/*",
    "https://GIT.example.com/team/*",
    "https://git.example.com/team/[ab]",
    "https://git.example.com/team/[!ab]/",
    "https://git.example.com/t?am/*",
    "ssh://*",
    "ssh://git@*/*",
    "git@git.example.com:team/*",
    "ssh://git.example.com:22/team/*",
    "https://git.example.com/[[]x]*",
    "file://*",
    "https://git.example.com/a\\b",
    "https://git.example.com/[^x]*",
    "h*://git.example.com/*",
    "",
]
URLS = [
    "https://git.example.com/team/a",
    "https://git.example.com/team/a/",
    "https://git.example.com/team/c",
    "https://git.example.com/other/a.git",
    "https://GIT.Example.com/team/a",
    "https://git.example.com:443/team/a",
    "https://git.example.com:8443/team/a",
    "https://git.example.com",
    "https://git.example.com/",
    "https://example.com/x.example.com/team/a",
    "https://git.example.com.evil.test/team/a",
    "https://evil.test/git.example.com/team/a",
    "http://git.example.com/team/a",
    "http://127.0.0.1:1234/a",
    "http://127.0.0.1/a",
    "ssh://git@git.example.com/team/a",
    "ssh://git@git.example.com:22/team/a",
    "ssh://git@git.example.com:2222/team/a",
    "ssh://git.example.com/team/a",
    "git@git.example.com:team/a",
    "git.example.com:team/a.git",
    "other@git.example.com:team/a",
    "file:///team/a",
    "/team/a",
]
#: The daemon refuses these before it looks at the list.
TWO_READINGS = [
    "https://git.example.com/team/../a",
    "https://git.example.com/team//a",
    "https://git.example.com/./a",
    "https://git.example.com@evil.test/team/a",
    "https://user:word@git.example.com/team/a",
    "https://git.example.com:/team/a",
    "https://git.example.com:0443/team/a",
    "https://git.example.com:x/team/a",
    "https://git.example.com/team/a?x=/team/a",
    "https://git.example.com#/team/a",
    "https://git.example.com\\@evil.test/team/a",
    "ssh://-oProxyCommand=x/team/a",
    "ssh://git@-oProxyCommand=x/team/a",
    "git@git.example.com:-team",
    "git@git.example.com:a:b",
    "ext::https://git.example.com/team/a",
    "https://git.example.com/team/a b",
    "",
]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize("glob", GLOBS)
def test_the_script_admits_what_the_daemon_does(glob: str, shell: list[str]) -> None:
    assert ADMITS is not None
    lines = 'for url; do if admits "$url"; then echo 1; else echo 0; fi; done'
    done = run(
        [*shell, "-euc", f"{ADMITS[0]}\n{lines}", "x", *URLS, *TWO_READINGS],
        env={**os.environ, "SOURCE_ALLOW": allow_list([glob])},
    )
    assert done.returncode == 0, done.stderr
    found = dict(zip([*URLS, *TWO_READINGS], done.stdout.split(), strict=True))
    shell_s_own = "^" in glob or "\\" in glob
    for url in URLS:
        fetched = not url.startswith(("file:", "/")) and not shell_s_own
        admitted = fetched and admits_url(normal_url(url), [glob])
        assert found[url] == str(int(admitted)), url
    for url in TWO_READINGS:
        assert found[url] == "0", url
