"""Our own repositories are copies: a damaged one is made anew, and nobody notices."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pygit2
import pytest

from reconciler.errors import GitError
from reconciler.git.sources import Sources
from reconciler.git.status_branch import StatusBranch
from reconciler.types import BuildContext, Commit, GitSource, ResolvedSource
from tests.git.copies import mirror_at, sources_at, status_branch_at
from tests.git.history import History

FILES = {"a.yaml": "a", "models/b.yaml": "b", "src/train.sh": "train"}


def spoil(repository: Path, what: str) -> None:  # noqa: C901 -- a list
    """Damage a repository as a crash or a bad disk would."""
    packs = sorted((repository / "objects" / "pack").glob("*.pack"))
    match what:
        case "half a pack":
            for pack in packs:
                pack.chmod(0o644)
                os.truncate(pack, pack.stat().st_size // 2)
        case "a pack of zeros":
            for pack in packs:
                pack.chmod(0o644)
                pack.write_bytes(bytes(pack.stat().st_size))
        case "no packs":
            for file in (repository / "objects" / "pack").iterdir():
                file.unlink()
        case "an empty ref":
            (repository / "refs" / "heads" / "main").write_text("")
        case "an empty HEAD":
            (repository / "HEAD").write_text("")
        case "no objects":
            shutil.rmtree(repository / "objects")
        case "a bad configuration":
            (repository / "config").write_text("[core\nnonsense")
        case _:
            raise AssertionError(what)


DAMAGES = [
    "half a pack", "a pack of zeros", "no packs", "an empty ref", "an empty HEAD", "no objects",
    "a bad configuration",
]  # fmt: skip


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_mirror_is_made_anew_at_the_next_start(
    what: str, local: History, tmp_path: Path
) -> None:
    path = tmp_path / "mirror.git"
    head = local.commit(FILES)
    mirror_at(path, local.url).fetch()
    spoil(path, what)

    mirror = mirror_at(path, local.url)
    assert mirror.fetch() == head
    assert set(mirror.list_manifests(head)) == {"a.yaml", "models/b.yaml"}
    assert mirror.read_file(head, "src/train.sh") == b"train"
    newer = local.commit({**FILES, "c.yaml": "c"})
    assert mirror.fetch() == newer


@pytest.mark.parametrize("what", DAMAGES)
def test_a_mirror_that_is_damaged_while_it_is_open_is_made_anew(
    what: str, local: History, tmp_path: Path
) -> None:
    path = tmp_path / "mirror.git"
    mirror = mirror_at(path, local.url)
    local.commit(FILES)
    mirror.fetch()
    spoil(path, what)

    head = local.commit({**FILES, "c.yaml": "c"})
    assert mirror.fetch() == head
    assert set(mirror.list_manifests(head)) == {"a.yaml", "c.yaml", "models/b.yaml"}
    assert mirror.read_file(head, "src/train.sh") == b"train"


def test_what_a_git_that_was_killed_has_left_is_in_nobodys_way(
    local: History, tmp_path: Path
) -> None:
    path = tmp_path / "mirror.git"
    mirror = mirror_at(path, local.url)
    local.commit(FILES)
    mirror.fetch()
    left = [path / name for name in (
        "shallow.lock", "packed-refs.lock", "HEAD.lock", "config.lock", "refs/heads/main.lock",
        "objects/pack/tmp_pack_x", "objects/pack/tmp_idx_x",
    )]  # fmt: skip
    for file in left:
        file.touch()
    head = local.commit({**FILES, "c.yaml": ""})
    assert mirror.fetch() == head
    assert not [file for file in left if file.exists()]


def loose(repository: Path, oid: str) -> Path:
    return repository / "objects" / oid[:2] / oid[2:]


def unpack(repository: Path) -> None:
    """Have every object in a file of its own, so that one can be lost."""
    packs = list((repository / "objects" / "pack").glob("*.pack"))
    for pack in packs:
        data = pack.read_bytes()
        for file in (pack, pack.with_suffix(".idx")):
            file.unlink()
        pack.with_suffix(".rev").unlink(missing_ok=True)
        subprocess.run(
            ["git", f"--git-dir={repository}", "unpack-objects", "-q"], input=data, check=True
        )


@pytest.mark.parametrize("emptied", [False, True])
def test_a_folder_that_cannot_be_read_is_fetched_again_and_not_taken_for_a_deleted_one(
    *, emptied: bool, local: History, tmp_path: Path
) -> None:
    path = tmp_path / "mirror.git"
    head = local.commit(FILES)
    mirror_at(path, local.url).fetch()
    unpack(path)
    folder = loose(path, str((local.repository[head].tree / "models").id))
    folder.chmod(0o644)
    if emptied:
        folder.write_bytes(b"")
    else:
        folder.unlink()
    mirror = mirror_at(path, local.url)
    assert set(mirror.list_manifests(head, "models")) == {"models/b.yaml"}


def test_a_damaged_mirror_whose_remote_is_away_is_an_error_and_no_empty_repository(
    local: History, tmp_path: Path
) -> None:
    path = tmp_path / "mirror.git"
    mirror = mirror_at(path, local.url)
    head = local.commit(FILES)
    mirror.fetch()
    spoil(path, "no packs")
    local.path.rename(tmp_path / "away")
    with pytest.raises(GitError):
        mirror_at(path, local.url).list_manifests(head)
    (tmp_path / "away").rename(local.path)
    mirror = mirror_at(path, local.url)
    assert mirror.fetch() == head
    assert set(mirror.list_manifests(head)) == {"a.yaml", "models/b.yaml"}


@pytest.mark.parametrize("what", [d for d in DAMAGES if d != "an empty ref"])
def test_a_damaged_copy_of_the_status_branch_loses_nothing(
    what: str, local: History, tmp_path: Path
) -> None:
    def branch() -> StatusBranch:
        return status_branch_at(tmp_path / "status.git", local.url)

    first = branch()
    first.push({"default/a.yaml": b"a"}, "One")
    branch_again = branch()
    branch_again.fetch()
    spoil(tmp_path / "status.git", what)
    for folder in (tmp_path / "status.git" / "objects").glob("??"):
        shutil.rmtree(folder)
    branch_again.push({"default/b.yaml": b"b"}, "Two")

    fresh = branch()
    fresh.fetch()
    assert dict(fresh.read_all()) == {"default/a.yaml": b"a", "default/b.yaml": b"b"}


def lose_file(copy: Path, commit: str, path: str) -> None:
    """Lose the content of one file of a copy."""
    unpack(copy)
    oid = pygit2.Repository(str(copy))[commit].tree[path].id
    loose(copy, str(oid)).unlink()


def test_a_status_branch_whose_copy_lost_a_file_is_read_and_pushed_all_the_same(
    local: History, tmp_path: Path
) -> None:
    copy = tmp_path / "status.git"
    branch = status_branch_at(copy, local.url)
    tip = branch.push({"sync.yaml": b"s", "default/a.yaml": b"a"}, "One")
    assert tip is not None
    lose_file(copy, tip, "default/a.yaml")
    branch = status_branch_at(copy, local.url)
    branch.fetch()
    found = branch.reading(lambda: dict(branch.read_all()))
    assert found == {"sync.yaml": b"s", "default/a.yaml": b"a"}

    lose_file(copy, tip, "sync.yaml")
    branch = status_branch_at(copy, local.url)
    branch.fetch()
    assert branch.push({"b": b"b"}, "Two", guard=lambda: branch.read("sync.yaml") == b"s")


@pytest.mark.parametrize("what", [d for d in DAMAGES if d != "an empty ref"])
def test_a_damaged_copy_of_a_source_is_made_anew(what: str, local: History, tmp_path: Path) -> None:
    url = local.url
    head = local.commit(FILES)

    def sources() -> Sources:
        return sources_at(tmp_path / "sources")

    request = GitSource(url=url, path="src")
    found = sources().resolve([request])[request]
    assert isinstance(found, ResolvedSource)
    (copy,) = (tmp_path / "sources").glob("*.git")
    spoil(copy, what)
    assert sources().resolve([request]) == {request: found}
    context = BuildContext(url=url, commit=Commit(head), tree=found.tree, path="src")
    spoil(copy, what)
    sources().export(context, tmp_path / "context")
    assert (tmp_path / "context" / "train.sh").read_text() == "train"
