"""Subjects of commits are read from the copies that an installation has."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest

from reconciler.git import LocalRepository
from reconciler.types import Commit
from reconciler.workspace import CommitSubjects
from reconciler.workspace.commit_subjects import MISSED
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


def test_copies_are_opened_once_a_minute_for_what_no_copy_has(
    tmp_path: Path, manifests: History, source: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, opened = [1000.0], list[Path]()
    real = LocalRepository.open

    def open_copy(path: Path) -> LocalRepository:
        opened.append(path)
        return real(path)

    monkeypatch.setattr(LocalRepository, "open", open_copy)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    subjects, others = CommitSubjects(tmp_path), [Commit(f"{n:040x}") for n in range(1, 50)]
    assert subjects.of([NOWHERE, *others]) == {}
    assert opened == [manifests.path, source.path], "each copy once for all commits"
    now[0] += MISSED - 1
    assert subjects.of([NOWHERE, *others]) == {}
    assert len(opened) == 2, "what was missed a moment ago is not looked for"
    later = source.commit({"a": "1"}, message="Mend the loss")
    assert subjects.of([NOWHERE, later]) == {later: "Mend the loss"}
    assert len(opened) == 4, "another commit is"
    now[0] += 1
    assert subjects.of([NOWHERE]) == {}
    assert len(opened) == 6


def test_copies_that_are_missing_or_damaged_tell_nothing(tmp_path: Path, source: History) -> None:
    assert CommitSubjects(tmp_path / "none").of([NOWHERE]) == {}
    found = source.commit({"a": "1"}, message="Mend the loss")
    (tmp_path / "manifests.git").mkdir()
    (tmp_path / "sources" / "00.git").mkdir()
    assert CommitSubjects(tmp_path).of([found]) == {found: "Mend the loss"}


def written(history: History, header: bytes, message: bytes) -> Commit:
    """A commit by ``J\xe9`` with a header line and a message of any bytes."""
    repository = history.repository
    tree = str(repository.TreeBuilder().write()).encode()
    person = b"J\xe9 <a@localhost> 0 +0000\n"
    text = b"tree %b\nauthor %bcommitter %b%b\n%b\n" % (tree, person, person, header, message)
    return Commit(str(repository.odb.write(pygit2.enums.ObjectType.COMMIT, text)))


#: Encodings that there are not, that are none of texts, or that decode no text with faults.
NONE = ("nonsense", "rot13", "idna", "undefined", "\xe9", "x" * 5000)


@pytest.mark.parametrize("header", ["", *(f"encoding {name}\n" for name in NONE)])
def test_a_message_in_no_encoding_is_read_all_the_same(manifests: History, header: str) -> None:
    commit = written(manifests, header.encode("latin-1"), b"b\xe9tter")
    expected = "b\N{REPLACEMENT CHARACTER}tter"
    assert CommitSubjects(manifests.path.parent).of([commit]) == {commit: expected}


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "latin1", "windows-1252"])
def test_subject_and_author_are_decoded_by_the_encoding_that_a_commit_names(
    manifests: History, encoding: str
) -> None:
    commit = written(manifests, f"encoding {encoding}\n".encode(), b"b\xe9tter")
    assert CommitSubjects(manifests.path.parent).of([commit]) == {commit: "b\xe9tter"}
    assert LocalRepository.open(manifests.path).author(commit) == "J\xe9"


def test_no_encoding_brings_what_cannot_be_printed(manifests: History) -> None:
    commit = written(manifests, b"encoding unicode_escape\n", rb"a\ud800b")
    assert CommitSubjects(manifests.path.parent).of([commit]) == {commit: "a?b"}
