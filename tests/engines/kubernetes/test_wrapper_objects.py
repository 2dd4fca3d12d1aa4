"""Directories that are no file system's."""

from __future__ import annotations

from reconciler.engines.kubernetes.buckets.registry import DRIVERS
from tests.engines.kubernetes.conftest import MakeContainer

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
