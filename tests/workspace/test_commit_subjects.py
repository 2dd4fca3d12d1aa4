"""Subjects of commits are read from the copies that an installation has."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from reconciler.types import Commit
from reconciler.workspace import CommitSubjects
from tests.git.history import History
from tests.git.remotes import make_bare

NOWHERE = Commit("f" * 40)


@pytest.fixture
def manifests(tmp_path: Path) -> History:
    return History(make_bare(tmp_path, "manifests.git"))


@pytest.fixture
def source(tmp_path: Path) -> History:
    (tmp_path / "sources").mkdir()
    return History(make_bare(tmp_path / "sources", "0a.git"))


def test_commits_of_manifests_and_of_sources_are_found(
    tmp_path: Path, manifests: History, source: History
) -> None:
    own = manifests.commit({"a": "1"}, message="Train longer\n\nAs agreed.\n")
    theirs = source.commit({"a": "2"}, message="Mend the loss")
    subjects = CommitSubjects(tmp_path)
    expected = {own: "Train longer", theirs: "Mend the loss"}
    assert subjects.of([own, theirs, NOWHERE]) == expected
    (manifests.path / "HEAD").unlink()
    assert subjects.of([own, theirs]) == expected, "they do not change, and are remembered"


def test_copies_that_are_missing_or_damaged_tell_nothing(tmp_path: Path, source: History) -> None:
    assert CommitSubjects(tmp_path / "none").of([NOWHERE]) == {}
    found = source.commit({"a": "1"}, message="Mend the loss")
    (tmp_path / "manifests.git").mkdir()
    (tmp_path / "sources" / "00.git").mkdir()
    assert CommitSubjects(tmp_path).of([found]) == {found: "Mend the loss"}


@pytest.mark.parametrize("header", [b"", b"encoding nonsense\n"])
def test_a_message_in_no_encoding_is_read_all_the_same(manifests: History, header: bytes) -> None:
    repository = manifests.repository
    tree = str(repository.TreeBuilder().write()).encode()
    person = b"A <a@localhost> 0 +0000\n"
    text = b"tree %b\nauthor %bcommitter %b%b\nb\xe9tter\n" % (tree, person, person, header)
    commit = Commit(str(repository.odb.write(pygit2.enums.ObjectType.COMMIT, text)))
    expected = "b\N{REPLACEMENT CHARACTER}tter"
    assert CommitSubjects(manifests.path.parent).of([commit]) == {commit: expected}
