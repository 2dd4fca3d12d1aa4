"""A build context on disk: the tree as it is, and nothing of it outside its folder."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.git import export
from reconciler.git.errors import DamagedError, SourceFaultError
from reconciler.git.export import Budget, export_tree
from reconciler.types import TreeId
from tests.git.history import Content, Gitlink, History, Link, Script
from tests.git.remotes import make_bare


def write(local: History, files: dict[str, Content], destination: Path) -> None:
    export_tree(local.repository, TreeId(str(local.tree(files))), destination)


def test_files_have_their_bytes_and_modes(local: History, tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "a": b"\0\xff", "deep/er/run.sh": Script("#!/bin/sh\n"), "deep/link": Link("er/run.sh"),
        "up": Link("deep/er"), "sub": Gitlink("1" * 40),
        "deep/back": Link("../a"), "dangling": Link("nowhere"), "self": Link("."),
    }  # fmt: skip
    out = tmp_path / "out"
    write(local, files, out)
    assert (out / "a").read_bytes() == b"\0\xff"
    assert stat.S_IMODE((out / "a").stat().st_mode) == 0o644
    assert stat.S_IMODE((out / "deep/er/run.sh").stat().st_mode) == 0o755
    assert (out / "deep/link").readlink() == Path("er/run.sh")
    assert (out / "deep/back").read_bytes() == b"\0\xff"
    assert list((out / "sub").iterdir()) == []


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../a", "x/../../..", "/mnt/data/../x"])
def test_a_link_is_kept_as_it_is_wherever_it_leads(
    target: str, local: History, tmp_path: Path
) -> None:
    write(local, {"d/a": Link(target)}, tmp_path / "out")
    assert (tmp_path / "out/d/a").readlink() == Path(target)


def test_a_link_without_a_target_is_a_fault_of_the_tree(local: History, tmp_path: Path) -> None:
    with pytest.raises(SourceFaultError, match="no usable target"):
        write(local, {"a": Link("")}, tmp_path / "out")


_STEPS = st.sampled_from(["..", ".", "a", "b", "up", "..."])
_TARGETS = st.builds(
    lambda start, steps: start + "/".join(steps),
    st.sampled_from(["", "", "", "/", "./"]),
    st.lists(_STEPS, min_size=1, max_size=6),
)
_PLACES = st.lists(st.sampled_from(["a", "b", "up"]), min_size=1, max_size=4).map("/".join)


@settings(deadline=None, max_examples=120)
@given(
    st.dictionaries(_PLACES, st.one_of(_TARGETS.map(Link), st.just("text")), max_size=6),
)
def test_whatever_is_written_nothing_is_written_through_a_link(files: dict[str, Content]) -> None:
    files = {p: c for p, c in files.items() if not any(o.startswith(f"{p}/") for o in files)}
    with tempfile.TemporaryDirectory() as folder:
        local = History(make_bare(Path(folder)))
        out = (Path(folder) / "out").resolve()
        write(local, files, out)
        for path, content in files.items():
            if isinstance(content, Link):
                assert (out / path).readlink() == Path(content.target)
            else:
                assert (out / path).lstat().st_size == len("text")
        assert {p.name for p in Path(folder).iterdir()} == {"out", local.path.name}


@pytest.mark.parametrize("name", [b"..", b".", b".git", b".GIT", b"a/b", b"a\\b"])
def test_a_name_that_is_no_name_is_refused(name: bytes, local: History, tmp_path: Path) -> None:
    tree = local.write_raw_tree([(0o100644, name, local.blob("x"))])
    with pytest.raises(SourceFaultError):
        export_tree(local.repository, TreeId(str(tree)), tmp_path / "out")
    assert not (tmp_path / "out" / "b").exists()


def test_a_name_that_is_there_twice_is_not_written_through_a_link(
    local: History, tmp_path: Path
) -> None:
    entries = [
        (0o100644, b"a", local.blob("safe")),
        (0o120000, b"b", local.blob("a")),
        (0o100644, b"b", local.blob("overwritten")),
    ]
    tree = local.write_raw_tree(entries)
    out = tmp_path / "out"
    with pytest.raises(SourceFaultError, match="two entries"):
        export_tree(local.repository, TreeId(str(tree)), out)
    assert (out / "a").read_text() == "safe"


def test_too_many_bytes_or_entries_are_an_error(local: History, tmp_path: Path) -> None:
    tree = TreeId(str(local.tree({"a": "x" * 100, "b": "x" * 100})))
    with pytest.raises(SourceFaultError, match="larger than"):
        export_tree(local.repository, tree, tmp_path / "one", budget=Budget(bytes=150))
    with pytest.raises(SourceFaultError, match="more than"):
        export_tree(local.repository, tree, tmp_path / "two", budget=Budget(entries=1))
    with mock.patch.object(export, "DEEPEST", 3), pytest.raises(SourceFaultError, match="deeper"):
        write(local, {"a/b/c/d/e": ""}, tmp_path / "three")


def test_a_missing_file_is_damage_and_leaves_no_half_context(
    local: History, tmp_path: Path
) -> None:
    tree = local.write_raw_tree([(0o100644, b"a", local.blob("a")), (0o100644, b"b", "2" * 40)])
    with pytest.raises(DamagedError):
        export_tree(local.repository, TreeId(str(tree)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_too_large_is_a_fault_of_the_tree(local: History, tmp_path: Path) -> None:
    with (
        mock.patch.object(export, "LARGEST_CONTEXT_FILE", 1 << 20),
        pytest.raises(SourceFaultError, match="a file of the build context is larger than 1 MiB"),
    ):
        write(local, {"a": "x" * ((1 << 20) + 1)}, tmp_path / "out")
