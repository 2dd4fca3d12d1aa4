"""Directories that are no file system's, and what cannot be read of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.engines.kubernetes.buckets.registry import DRIVERS
from reconciler.engines.kubernetes.wrapper import INFRASTRUCTURE_EXIT
from reconciler.reasons import ReasonCode
from reconciler.types import Verify
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import BUSYBOX, KEY, write_tree
from tests.engines.kubernetes.test_artifact_collection import BOUNDED
from tests.engines.kubernetes.test_wrapper import complete

LACKS = DRIVERS["gcsfuse"].lacks
LINKS = (
    'cd "$MODEL_DIR" && mkdir parts && echo weights >parts/w.bin && chmod 755 parts/w.bin &&'
    " ln -s parts/w.bin latest && ln -s latest again && ln -s parts newest"
)


def test_a_link_that_other_readers_of_the_store_do_not_see_becomes_its_file(
    pod: MakeContainer,
) -> None:
    container = pod(lacks=LACKS)
    assert container.sh(LINKS).code == 0
    for name in ("latest", "again"):
        assert not (container.bucket / name).is_symlink()
        assert (container.bucket / name).read_bytes() == b"weights\n"
    assert (container.bucket / "newest").is_symlink()
    marker = container.marker()
    assert {file.path: file.size for file in marker.files} == {
        "again": 8,
        "latest": 8,
        "parts/w.bin": 8,
    }
    assert b"is complete" in pod(lacks=LACKS).sh("echo ran it").output


def test_a_link_in_a_file_system_stays_one(pod: MakeContainer) -> None:
    container = pod()
    assert container.sh(LINKS).code == 0
    assert all((container.bucket / name).is_symlink() for name in ("latest", "again", "newest"))


def test_a_marker_that_cannot_be_renamed_is_written_in_place(pod: MakeContainer) -> None:
    """A folder of the name that a rename begins with is in nobody's way."""
    container = pod(lacks=LACKS)
    assert (
        container.sh('mkdir "$MODEL_DIR/.reconciler-completed"; echo w >"$MODEL_DIR/w"').code == 0
    )
    assert container.marker().files[0].path == "w"
    assert sorted(path.name for path in container.bucket.iterdir()) == [
        "completed.json",
        "logs",
        "w",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's folder needs root to be made here")
@pytest.mark.parametrize("refuses", [False, True])
def test_a_command_that_fails_where_its_store_takes_nothing_is_not_to_blame(
    pod: MakeContainer, *, refuses: bool
) -> None:
    container = pod(lacks=LACKS)
    container.under = BOUNDED
    refuse = 'chown 1 "$MODEL_DIR"; chmod 500 "$MODEL_DIR";' if refuses else ""
    ended = container.sh(f"{BUSYBOX} sh -c '{refuse} exit 3'")
    reason = ReasonCode.BUCKET_FAILED if refuses else ReasonCode.COMMAND_FAILED
    assert ended.termination.reason is reason, ended


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's files need root to be written here")
@pytest.mark.parametrize(
    ("verify", "name"),
    [(None, "completed.json"), (Verify.SIZES, "folder"), (Verify.DIGESTS, "w")],
)
@pytest.mark.parametrize("own", [False, True], ids=["input", "own"])
def test_what_a_store_does_not_let_be_read_is_not_called_lost(
    pod: MakeContainer, tmp_path: Path, verify: Verify | None, name: str, *, own: bool
) -> None:
    place = pod().bucket if own else tmp_path / "base"
    write_tree(place, {"w": b"1", "folder/w": b"1"})
    complete(place, KEY)
    which = "artifact" if own else "base"
    container = pod(
        inputs=[] if own else [f"base={KEY}:{place}"],
        verify={which: verify} if verify else {},
    )
    container.under = BOUNDED
    (place / name).chmod(0)
    os.chown(place / name, 1, 1)
    ended = container.sh("echo ran it")
    assert (ended.code, b"ran it" in ended.output) == (INFRASTRUCTURE_EXIT, False)
    assert ended.termination.reason is ReasonCode.BUCKET_FAILED, ended
    assert f"the {which} cannot be read: " in ended.termination.message
    assert (place / "completed.json").exists()
    os.chown(place / name, 0, 0)
    (place / name).chmod(0o755)
    ended = container.sh("echo ran it")
    assert (ended.code, b"ran it" in ended.output) == (0, not own)
