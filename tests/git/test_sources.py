"""Sources: which commit a branch, tag or commit is, what is in it, and what it costs to know."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.backoff import JITTER
from reconciler.errors import GitError
from reconciler.git import sources as sources_module
from reconciler.git.sources import RETRY_FIRST, Resolution, Sources
from reconciler.git.transport import RemoteRefs, Transport
from reconciler.reasons import UnresolvedSource, message
from reconciler.types import (
    BuildContext,
    Commit,
    GitSource,
    ResolvedSource,
    TreeId,
)
from tests.e2e.site import git, until
from tests.git.conftest import TIMEOUT
from tests.git.copies import sources_at
from tests.git.history import Content, Gitlink, History, Link, Script
from tests.git.remotes import FileRemote, HttpRemote, Remote, make_bare

FILES: dict[str, Content] = {"src/a/train.sh": Script("a"), "src/b/train.sh": Script("b")}


def sources_of(
    remote: Remote,
    path: Path,
    *,
    allowed: Callable[[str], bool] = lambda _: True,
    clock: Callable[[], float] = lambda: 0.0,
) -> Sources:
    options = {"timeout": TIMEOUT, "allowed": allowed, "clock": clock}
    return sources_at(path / "sources", credentials=remote.credentials(), **options)


def tree_of(history: History, commit: str, path: str = "") -> TreeId:
    spec = f"{commit}:{path}"
    return TreeId(git(history.path, "rev-parse", spec).strip())


def reason(where: Resolution) -> str:
    assert isinstance(where, UnresolvedSource)
    return message(where.reason)


def test_head_branches_tags_and_commits_are_resolved(
    remote: Remote, history: History, tmp_path: Path
) -> None:
    old = history.commit(FILES)
    history.tag("light", old)
    history.tag("heavy", old, annotated=True)
    head = history.commit({**FILES, "src/a/train.sh": Script("newer")})
    other = history.commit({"x": ""}, branch="feature/x")
    unadvertised = history.commit({"src/a/y": ""}, branch="gone")
    history.commit({"z": ""}, branch="gone")
    url = remote.url("a.git")
    wanted = {
        GitSource(url=url, path="src/a"): (head, "src/a"),
        GitSource(url=url, path="src"): (head, "src"),
        GitSource(url=url): (head, ""),
        GitSource(url=url, branch="main", path="src/b"): (head, "src/b"),
        GitSource(url=url, branch="feature/x"): (other, ""),
        GitSource(url=url, tag="light", path="src/a"): (old, "src/a"),
        GitSource(url=url, tag="heavy", path="src/a"): (old, "src/a"),
        GitSource(url=url, commit=old): (old, ""),
        GitSource(url=url, commit=unadvertised, path="src/a"): (unadvertised, "src/a"),
    }
    found = sources_of(remote, tmp_path).resolve(list(wanted))
    assert found == {
        request: ResolvedSource(commit, tree_of(history, commit, path))
        for request, (commit, path) in wanted.items()
    }


def test_a_commit_behind_one_that_was_fetched_shallowly_is_found(
    remote: Remote, history: History, tmp_path: Path
) -> None:
    old = history.commit(FILES)
    for number in range(3):
        history.commit({"n": str(number)})
    sources, url = sources_of(remote, tmp_path), remote.url("a.git")
    tip = GitSource(url=url)
    assert isinstance(sources.resolve([tip])[tip], ResolvedSource)
    behind = GitSource(url=url, commit=old, path="src")
    assert sources.resolve([behind])[behind] == ResolvedSource(old, tree_of(history, old, "src"))


def test_what_is_not_there_is_told(remote: Remote, history: History, tmp_path: Path) -> None:
    head = history.commit({**FILES, "file": "", "link": Link("src")})
    url, missing = remote.url("a.git"), "1234567890" * 4
    shown = url.rpartition("@")[2] if "@" in url else url
    requests = {
        GitSource(url=url, branch="x"): "has no branch x",
        GitSource(url=url, tag="x"): "has no tag x",
        GitSource(url=url, commit=missing): missing,
        GitSource(url=url, path="x"): f"has no folder x at {head[:12]}",
        GitSource(url=url, path="file"): "has no folder file",
        GitSource(url=url, path="link"): "has no folder link",
        GitSource(url=url, path="link/a"): "has no folder link/a",
        GitSource(url=url, path="src/../src"): "has no folder",
        GitSource(url=remote.url("b.git")): "there is no such repository",
    }
    found = sources_of(remote, tmp_path).resolve(list(requests))
    for request, said in requests.items():
        assert said in reason(found[request])
    assert all(shown.rpartition("/")[0] in reason(where) for where in found.values())


def test_an_empty_repository_is_told(files: FileRemote, tmp_path: Path) -> None:
    make_bare(files.root)
    request = GitSource(url=files.url("a.git"))
    assert "it is empty" in reason(sources_of(files, tmp_path).resolve([request])[request])


def test_a_detached_head_is_the_commit_it_is_at(files: FileRemote, tmp_path: Path) -> None:
    history = History(make_bare(files.root))
    old = history.commit(FILES)
    history.commit({"n": ""})
    (history.path / "HEAD").write_text(f"{old}\n")
    request = GitSource(url=files.url("a.git"))
    where = sources_of(files, tmp_path).resolve([request])[request]
    assert where == ResolvedSource(old, tree_of(history, old))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of remotes: the verb of each call."""
    made: list[str] = []
    look, fetch = Transport.list_refs, Transport.fetch

    def list_refs(self: Transport, *args: object, **more: object) -> RemoteRefs:
        made.append("look")
        return look(self, *args, **more)  # type: ignore[arg-type]

    def fetching(self: Transport, *args: object, **more: object) -> None:
        made.append("fetch")
        fetch(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Transport, "list_refs", list_refs)
    monkeypatch.setattr(Transport, "fetch", fetching)
    return made


def test_many_sources_of_a_url_cost_one_look_up_and_one_fetch(
    files: FileRemote, tmp_path: Path, calls: list[str]
) -> None:
    history = History(make_bare(files.root))
    history.commit({f"src/{n}/train.sh": str(n) for n in range(50)})
    now = [0.0]
    sources = sources_of(files, tmp_path, clock=lambda: now[0])
    requests = [GitSource(url=files.url("a.git"), path=f"src/{n}") for n in range(50)]
    first = sources.resolve(requests)
    assert calls == ["look", "fetch"]
    assert sources.resolve(requests) == first
    assert calls == ["look", "fetch"], "while it is fresh it is known"
    assert 0 < sources.due() <= 330
    now[0] += sources.due() + 0.001
    assert sources.resolve(requests) == first
    assert calls == ["look", "fetch", "look"], "what has not moved is not fetched"
    sources.resolve(requests, refresh={request.url for request in requests})
    assert calls == ["look", "fetch", "look", "look"]


def test_a_source_that_cannot_be_read_does_not_hold_up_the_others(
    files: FileRemote, tmp_path: Path
) -> None:
    head = History(make_bare(files.root)).commit(FILES)
    good, bad = GitSource(url=files.url("a.git")), GitSource(url=files.url("b.git"))
    found = sources_of(files, tmp_path).resolve([bad, good])
    assert "no such repository" in reason(found[bad])
    where = found[good]
    assert isinstance(where, ResolvedSource)
    assert where.commit == head


def test_a_remote_that_takes_its_time_is_left_to_a_later_sync_and_holds_up_nothing(
    http: HttpRemote, tmp_path: Path
) -> None:
    head = History(make_bare(http.root)).commit(FILES)
    go, asked = threading.Event(), []

    def hold(path: str) -> None:
        asked.append(path)
        go.wait(120)

    http.before = hold
    sources = sources_at(tmp_path / "sources", credentials=http.credentials(), patience=1.0)
    slow, good = GitSource(url=http.url("a.git")), GitSource(url=(http.root / "a.git").as_uri())
    try:
        sources.resolve([good])
        found = sources.resolve([slow, good])
        assert "is still being looked up" in reason(found[slow])
        assert isinstance(found[good], ResolvedSource)
        assert "is still being looked up" in reason(sources.resolve([slow])[slow])
        assert len(asked) == 1, "it is not asked anew meanwhile"
        assert 0 < sources.due() <= 2
    finally:
        go.set()
    until(lambda: sources.due() == 0, what="the look-up to end")
    where = sources.resolve([slow])[slow]
    assert isinstance(where, ResolvedSource)
    assert where.commit == head
    assert sources.due() > 100

    go.clear()
    try:
        assert sources.resolve([slow], refresh=[slow.url]) == {slow: where}, (
            "what was last known of it"
        )
    finally:
        go.set()
    until(lambda: sources.due() == 0, what="the look-up to end")


def test_a_commit_that_cannot_be_fetched_is_not_tried_at_each_sync(
    files: FileRemote, tmp_path: Path, calls: list[str]
) -> None:
    head = History(make_bare(files.root)).commit(FILES)
    now = [0.0]
    sources, url = sources_of(files, tmp_path, clock=lambda: now[0]), files.url("a.git")
    requests = [GitSource(url=url, commit="1" * 40, path=path) for path in ("src/a", "src/b")]
    good = GitSource(url=url)
    for _ in range(3):
        found = sources.resolve([*requests, good])
        assert all("1111" in reason(found[request]) for request in requests)
        where = found[good]
        assert isinstance(where, ResolvedSource)
        assert where.commit == head
    assert calls.count("look") == 1
    assert calls.count("fetch") <= 3
    waits = []
    for _ in range(5):
        waits.append(sources.due())
        now[0] += waits[-1] + 0.001
        sources.resolve(requests)
    assert waits[0] <= (1 + JITTER) * RETRY_FIRST
    assert waits[-1] > 40, "less and less often"


def test_what_is_remembered_is_bounded(
    files: FileRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "MOST_TREES", 10)
    monkeypatch.setattr(sources_module, "MOST_URLS", 3)
    history = History(make_bare(files.root))
    history.commit({f"{n}/x": str(n) for n in range(30)})
    sources = sources_of(files, tmp_path)
    requests = [GitSource(url=files.url("a.git"), path=str(n)) for n in range(30)]
    found = sources.resolve(requests)
    assert len(sources._trees) == 10
    assert sources.resolve(requests) == found
    for number in range(9):
        sources.resolve([GitSource(url=files.url(f"nowhere{number}.git"))])
    assert len(sources._seen) <= 4


def context(history: History, url: str, commit: Commit, path: str = "") -> BuildContext:
    return BuildContext(
        url=url, commit=commit, tree=tree_of(history, commit, path), path=path, submodules=True
    )


def test_a_context_is_exported_with_its_submodules_and_theirs(
    remote: Remote, history: History, tmp_path: Path
) -> None:
    inner = History(make_bare(remote.root, "inner.git")).commit({"deep": "deep"})
    middle_history = History(make_bare(remote.root, "team/middle.git"))
    gone = middle_history.commit(
        {"m": "m", "in": Gitlink(inner), ".gitmodules": module("in", "../../inner.git")}
    )
    middle_history.commit({"m": "later"})
    modules = module("src/a/lib", "../team/middle.git".replace("../", "./../")) + module(
        "src/b/other", "../nowhere.git"
    )
    head = history.commit(
        {**FILES, "src/a/lib": Gitlink(gone), "src/b/other": Gitlink("1" * 40),
         ".gitmodules": modules}
    )  # fmt: skip
    out = tmp_path / "out"
    sources = sources_of(remote, tmp_path)
    sources.export(context(history, remote.url("a.git"), head, "src/a"), out)
    found = {str(p.relative_to(out)): p.read_text() for p in out.rglob("*") if p.is_file()}
    assert found == {
        "train.sh": "a", "lib/m": "m", "lib/in/deep": "deep",
        "lib/.gitmodules": module("in", "../../inner.git"),
    }  # fmt: skip


def module(path: str, url: str) -> str:
    return f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c touch% x", "--upload-pack=x", "../../../../../../../../../../etc", "https://u:p@h/a",
     "file:///etc"],
)  # fmt: skip
def test_a_submodule_that_may_not_be_read_is_refused(
    url: str, files: FileRemote, tmp_path: Path
) -> None:
    history = History(make_bare(files.root))
    head = history.commit({"lib": Gitlink("1" * 40), ".gitmodules": module("lib", url)})
    sources = sources_of(files, tmp_path, allowed=lambda at: at.startswith(files.url("")))
    with pytest.raises(GitError) as caught:
        sources.export(context(history, files.url("a.git"), head), tmp_path / "out")
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[submodule", module("../out", "../b"), module("/abs", "../b"),
     module("lib", "") + "[core]\nx=y", module("nowhere", "../b"), module(".git/hooks", "../b"),
     module("file", "../b"), "[submodule \"x\"]\n\tpath\n\turl", module("lib/", "../b"),
     "\0\xff[", module("a/../lib", "../b"), "[DEFAULT]\npath=lib\nurl=../b\n"],
)  # fmt: skip
def test_a_list_of_submodules_that_makes_no_sense_is_left_out(
    text: str, files: FileRemote, tmp_path: Path
) -> None:
    history = History(make_bare(files.root))
    head = history.commit({"file": "", "lib": Gitlink("1" * 40), ".gitmodules": text})
    out = tmp_path / "out"
    sources_of(files, tmp_path).export(context(history, files.url("a.git"), head), out)
    assert {path.name for path in out.iterdir()} == {"file", "lib", ".gitmodules"}
    assert list((out / "lib").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a#b", '[submodule "x"]\n\tpath = "a#b"\n\turl = "../b.git"\n'),
        ("lib", '[submodule "x"] # one\n\tpath = lib ; two\n\turl = ../b.git # three\n'),
        ("lib", '[submodule "x"]\n\turl = ../nowhere.git\n\tpath = lib\n\turl = ../b.git\n'),
    ],
    ids=["quoted", "with comments", "said twice"],
)
def test_the_list_of_submodules_is_read_as_git_reads_it(
    path: str, text: str, files: FileRemote, tmp_path: Path
) -> None:
    inner = History(make_bare(files.root, "b.git")).commit({"m": "m"})
    history = History(make_bare(files.root))
    head = history.commit({path: Gitlink(inner), ".gitmodules": text})
    out = tmp_path / "out"
    sources_of(files, tmp_path).export(context(history, files.url("a.git"), head), out)
    assert (out / path / "m").read_text() == "m"


def test_submodules_in_a_circle_or_too_many_end(
    files: FileRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below: str | None = None
    for number in range(8):
        history = History(make_bare(files.root, f"{number}.git"))
        content: dict[str, Content] = {"n": str(number)}
        if below is not None:
            content |= {
                "in": Gitlink(below),
                ".gitmodules": module("in", f"../{number - 1}.git"),
            }
        below = history.commit(content)
    sources = sources_of(files, tmp_path)
    assert below is not None
    with pytest.raises(GitError, match="nested deeper than 5"):
        sources.export(context(history, files.url("7.git"), Commit(below)), tmp_path / "out")
    monkeypatch.setattr(sources_module, "MOST_SUBMODULES", 0)
    with pytest.raises(GitError, match="more than 0 submodules"):
        sources.export(context(history, files.url("7.git"), Commit(below)), tmp_path / "out2")


def test_a_context_whose_remote_has_lost_the_commit_is_exported_from_what_is_here(
    files: FileRemote, tmp_path: Path
) -> None:
    history = History(make_bare(files.root))
    head = history.commit(FILES)
    sources, request = sources_of(files, tmp_path), GitSource(url=files.url("a.git"))
    sources.resolve([request])
    where = context(history, files.url("a.git"), head)
    history.path.rename(tmp_path / "away")
    sources.export(where, tmp_path / "out")
    assert (tmp_path / "out/src/a/train.sh").read_text() == "a"


def test_a_source_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path))
    commit = history.commit({"src/a/train.sh": Script("a"), "large": os.urandom(300_000).hex()})
    sources = sources_at(tmp_path / "sources", largest=100_000, timeout=TIMEOUT)
    request = GitSource(url=history.path.as_uri(), path="src/a")
    found = sources.resolve([request])[request]
    assert isinstance(found, UnresolvedSource), commit
    assert "it sends more than is accepted; see sources.maxSize" in reason(found)
    kept = (file.stat().st_size for file in (tmp_path / "sources").rglob("*") if file.is_file())
    assert sum(kept) < 100_000
