"""Listings of folders of this machine: what changes a digest, and what ends a listing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.engine import EngineError, listing
from reconciler.engines.local.listing import FolderError, list_folder, list_url
from reconciler.reasons import ReasonCode
from reconciler.types import DataListing

#: A time long ago, so that a later change is never within the clock's grain.
PAST = 1_700_000_000_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("a", "one"), ("b/a", "two"), ("b/c", "three")):
        put(tmp_path / "data" / name, text)
    return tmp_path / "data"


def put(path: Path, text: str, time: int = PAST) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(time, time))


def test_a_listing_counts_files_and_bytes(folder: Path) -> None:
    found = list_folder(folder)
    assert (found.files, found.size) == (3, 11)
    assert len(found.digest) == 40
    assert list_folder(folder) == found


def test_a_file_is_a_folder_of_one(folder: Path) -> None:
    found = list_folder(folder / "a")
    assert (found.files, found.size) == (1, 3)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: put(d / "d", ""),
        lambda d: (d / "a").unlink(),
        lambda d: (d / "a").rename(d / "z"),
        lambda d: put(d / "a", "longer"),
        lambda d: put(d / "a", "eno", PAST + 1),
        lambda d: (d / "b/a").rename(d / "ba"),
        lambda d: (d / "link").symlink_to("a"),
    ],
    ids=["added", "removed", "renamed", "longer", "rewritten", "moved", "linked"],
)
def test_a_change_changes_the_digest(folder: Path, change: Callable[[Path], object]) -> None:
    before = list_folder(folder).digest
    change(folder)
    assert list_folder(folder).digest != before


def test_what_a_name_is_cannot_be_taken_for_its_size(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    put(one / "a1", "x" * 2)
    put(other / "a", "x" * 12)
    assert list_folder(one).digest != list_folder(other).digest


def test_an_empty_folder_and_a_copy_are_the_same(folder: Path, tmp_path: Path) -> None:
    """Folders are in no listing, as a bucket has none."""
    before = list_folder(folder)
    (folder / "empty").mkdir()
    assert list_folder(folder) == before


def test_a_link_is_not_followed_but_the_folders_own(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "outside/secret", "secret")
    (folder / "out").symlink_to(tmp_path / "outside")
    before = list_folder(folder)
    assert before.files == 4
    put(tmp_path / "outside/secret", "other", PAST + 1)
    assert list_folder(folder) == before
    (tmp_path / "current").symlink_to(folder)
    assert list_folder(tmp_path / "current") == before


def test_a_name_that_is_no_text_is_listed(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch()
    assert list_folder(folder).files == 4


def deep(folder: Path) -> None:
    (folder / ("d/" * 250)).mkdir(parents=True)


def circle(folder: Path) -> None:
    (folder.parent / "circle").symlink_to("circle")


def nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        (nothing, "nowhere", "nowhere is not there"),
        (deep, "", "more than 200 folders"),
        (circle, "../circle", "(?i)loop|levels"),
    ],
)
def test_what_cannot_be_listed_is_said(
    folder: Path, make: Callable[[Path], None], name: str, said: str
) -> None:
    make(folder)
    with pytest.raises(FolderError, match=said):
        list_folder(folder / name)


@pytest.mark.parametrize(("bound", "most"), [("MOST_ENTRIES", 3), ("LONGEST_NAMES", 6)])
def test_a_listing_is_bounded(
    folder: Path, bound: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, bound, most)
    with pytest.raises(FolderError, match="give a revision"):
        list_folder(folder)


def test_a_listing_of_a_url_is_refused_with_the_reason(folder: Path) -> None:
    assert isinstance(list_url(folder.as_uri()), DataListing)
    for url, said in ((f"{folder.as_uri()}/x", "is not there"), ("s3://b/x", "give a revision")):
        with pytest.raises(EngineError, match=said) as error:
            list_url(url)
        assert error.value.reason.code is ReasonCode.SOURCE_UNAVAILABLE
