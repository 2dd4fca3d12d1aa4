"""What a commit's manifests are, read from the difference to another or from the beginning."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import GitError
from reconciler.git import repository as repositories
from reconciler.git import trees
from reconciler.git.repository import Repository
from reconciler.types import Commit
from tests.git.history import AUTHOR, Content, Gitlink, History, Link, Script
from tests.git.remotes import make_bare

_FOLDERS = st.lists(st.sampled_from(["a", "b", "models", "ä", "x.yaml"]), max_size=3)
_LEAVES = st.sampled_from(
    [
        "a.yaml",
        "b.yml",
        "c.json",
        "d.txt",
        ".reconcilerignore",
        "e.yaml.bak",
        ".yaml",
        "ü.yaml",
        "a",
    ]
)
_PATHS = st.builds(lambda folders, leaf: "/".join([*folders, leaf]), _FOLDERS, _LEAVES)
_CONTENTS: st.SearchStrategy[Content] = st.one_of(
    st.sampled_from(["", "one", "two"]),
    st.sampled_from([Script("one"), Link("a.yaml"), Gitlink("1" * 40)]),
)


def _possible(files: dict[str, Content]) -> dict[str, Content]:
    """Without what cannot be: a file that is a folder too."""
    return {p: c for p, c in files.items() if not any(o.startswith(f"{p}/") for o in files)}


_COMMITS = st.lists(
    st.dictionaries(_PATHS, _CONTENTS, max_size=6).map(_possible), min_size=2, max_size=5
)


@settings(deadline=None, max_examples=100)
@given(_COMMITS, st.sampled_from(["", "a", "models", "a/b", "x.yaml"]))
def test_the_difference_leads_to_what_a_fresh_look_finds(
    commits: list[dict[str, Content]], path: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        local = History(make_bare(Path(folder)))
        reader = Repository(local.repository)
        previous = None
        for number, files in enumerate(commits):
            head = local.commit(files, orphan=number % 2 == 1)
            found = reader.list_manifests(head, path, previous)
            assert found == Repository(local.repository).list_manifests(head, path)
            expected = {
                name
                for name, content in files.items()
                if isinstance(content, str | Script)
                and (not path or name.startswith(f"{path}/"))
                and (name.endswith((".yaml", ".yml", ".json", "/.reconcilerignore"))
                     or name == ".reconcilerignore")
            }  # fmt: skip
            assert set(found) == expected
            previous = (head, found)


def test_a_change_of_one_file_reads_no_other_folder(local: History) -> None:
    files: dict[str, Content] = {f"f{n}/a.yaml": str(n) for n in range(50)}
    first = local.commit(files)
    second = local.commit({**files, "f7/a.yaml": "other"})
    known = Repository(local.repository).list_manifests(first)
    # Without the other folders a look at everything is impossible, and the difference is not.
    for number in range(50):
        if number != 7:
            tree = local.repository[second].tree / f"f{number}"
            (local.path / "objects" / str(tree.id)[:2] / str(tree.id)[2:]).unlink()
    reader = Repository(pygit2.Repository(str(local.path)))
    found = reader.list_manifests(second, "", (first, known))
    assert {path for path in found if found[path] != known[path]} == {"f7/a.yaml"}


def test_what_was_listed_of_a_commit_that_is_gone_is_listed_anew(local: History) -> None:
    head = local.commit({"a.yaml": ""})
    reader = Repository(local.repository)
    assert set(reader.list_manifests(head, "", (Commit("f" * 40), {"b.yaml": "x"}))) == {"a.yaml"}


def test_names_that_are_no_text_are_listed_alike_both_ways(local: History) -> None:
    blob = local.blob("x")

    def commit(names: list[bytes]) -> Commit:
        tree = local.write_raw_tree([(0o100644, name, blob) for name in sorted(names)])
        return Commit(str(local.repository.create_commit(None, AUTHOR, AUTHOR, "x", tree, [])))

    first, second = commit([b"\xff.yaml", b"a.yaml"]), commit([b"\xfe.yaml", b"a.yaml"])
    reader = Repository(local.repository)
    known = reader.list_manifests(first)
    assert reader.list_manifests(second, "", (first, known)) == reader.list_manifests(second)
    assert len(known) == 2


def test_a_few_trees_that_stand_for_a_million_files_are_an_error(local: History) -> None:
    inner = local.tree({"a.yaml": ""})
    for _ in range(12):
        names = [b"%d" % n for n in range(10)]
        inner = local.write_raw_tree([(0o040000, name, str(inner)) for name in names])
    bomb = Commit(str(local.repository.create_commit(None, AUTHOR, AUTHOR, "x", inner, [])))
    with mock.patch.object(trees, "MOST_ENTRIES", 10_000), pytest.raises(GitError, match="entries"):
        Repository(local.repository).list_manifests(bomb)


def test_a_tree_of_a_thousand_levels_is_an_error(local: History) -> None:
    inner = local.tree({"a.yaml": ""})
    for _ in range(1000):
        inner = local.write_raw_tree([(0o040000, b"d", str(inner))])
    deep = Commit(str(local.repository.create_commit(None, AUTHOR, AUTHOR, "x", inner, [])))
    reader = Repository(local.repository)
    with pytest.raises(GitError, match="levels"):
        reader.list_manifests(deep)


def test_the_commit_that_last_changed_each_path_is_found(local: History) -> None:
    first = local.commit({"a.yaml": "1", "m/b.yaml": "1", "c.yaml": "1"})
    second = local.commit({"a.yaml": "1", "m/b.yaml": "2", "c.yaml": "1"})
    third = local.commit({"a.yaml": "1", "m/b.yaml": "2", "c.yaml": Script("1")})
    reader = Repository(local.repository)
    paths = {"a.yaml", "m/b.yaml", "c.yaml"}
    assert reader.last_changed(third, paths) == {
        "a.yaml": first, "m/b.yaml": second, "c.yaml": third,
    }  # fmt: skip
    assert reader.last_changed(third, paths, limit=2)["a.yaml"] == second


def test_a_commit_with_too_many_manifest_files_is_refused(local: History) -> None:
    few = local.commit({f"{n}.yaml": "" for n in range(5)})
    many = local.commit({f"{n}.yaml": "" for n in range(6)})
    reader = Repository(local.repository)
    with mock.patch.object(trees, "MOST_MANIFEST_FILES", 5):
        listed = reader.list_manifests(few)
        for previous in (None, (few, listed)):
            with pytest.raises(GitError, match="more than 5 manifest files"):
                reader.list_manifests(many, "", previous)


def test_a_blob_that_is_too_large_is_not_unpacked(local: History) -> None:
    commit = local.commit({"a.yaml": "kind: Model", "b.yaml": "x" * 100})
    reader = Repository(local.repository)
    blobs = reader.list_manifests(commit)
    with mock.patch.object(repositories, "LARGEST_UNPACKED", 50):
        assert reader.read_blob(blobs["a.yaml"], 20) == b"kind: Model"
        assert reader.read_blob(blobs["b.yaml"], 20) == bytes(20)
        assert reader.read_file(commit, "b.yaml", 20) == bytes(20)
    assert reader.blob_size(blobs["b.yaml"]) == 100
