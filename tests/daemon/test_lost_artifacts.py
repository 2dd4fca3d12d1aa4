"""What was deleted from a bucket is noticed and made anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from reconciler.engines.local.fsync import remove_tree
from tests.e2e.site import Site, until

SAVE = 'echo weights > "$MODEL_DIR/weights"\n'


@pytest.fixture
def family(tmp_path: Path) -> Site:
    """A base and a finetune of it, both Ready."""
    site = Site(tmp_path)
    site.script("src/a/train.sh", SAVE)
    site.scratch("a")
    site.finetune("b", "a")
    site.push()
    assert site.run_once().returncode == 0
    assert site.ran() == {"a": 1, "b": 1}
    return site


def artifact(site: Site, name: str) -> Path:
    url: Any = site.statuses()[name]["artifact"]["url"]
    return Path(url.removeprefix("file://"))


def verified(site: Site, **sections: Any) -> None:
    """Have runs compare the content of what they mount."""
    url = (site.root / "bucket").as_uri()
    site.configure(buckets={"default": {"url": url, "verify": "digests"}}, **sections)


def flip(file: Path) -> None:
    """Change a bit of a file, as a disk may: its size and its time stay."""
    before = file.stat()
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    file.chmod(before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_base_with_a_flipped_bit_is_made_anew_before_a_run_uses_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    verified(site)
    # The command takes a file that is there for what an earlier attempt left.
    site.script("src/a/train.sh", '[ -e "$MODEL_DIR/weights" ] || ' + SAVE)
    site.scratch("a")
    assert site.sync().returncode == 0
    flip(site.artifact("a") / "weights")
    site.write("src/d/load.sh", '#!/bin/sh\necho data > "$DATA_DIR/data"\n', executable=True)
    site.write(
        "d.yaml",
        "kind: Dataset\nmetadata: {name: d}\nspec: {source: {git: {url: ., path: src/d}}}\n",
    )
    site.finetune("b", "a")
    site.edit("b.yaml", "training:\n", "training:\n    dataset: {name: d}\n")
    site.ran()
    done = site.sync()
    assert done.returncode == 0, done.stderr
    assert site.ran() == {"a": 1, "b": 1}
    assert (site.artifact("a") / "weights").read_text() == "weights\n"
    assert set(site.phases().values()) == {"Ready"}


def test_by_default_sizes_alone_are_compared(family: Site) -> None:
    flip(family.artifact("a") / "weights")
    family.finetune("c", "a")
    assert family.sync().returncode == 0
    assert family.ran() == {"c": 1}


def test_the_scrub_finds_a_flipped_bit_and_has_the_artifact_made_anew(family: Site) -> None:
    family.configure(retention={"verify": "1s"})
    with family.running():
        until(lambda: verified_at(family, "a") and verified_at(family, "b"), what="a first scrub")
        weights = family.artifact("a") / "weights"
        flip(weights)
        until(lambda: family.ran() == {"a": 1}, what="the artifact to be made anew")
        until(lambda: lost_and_made(family), what="its status")
        until(lambda: verified_at(family, "a"), what="its next scrub")
    assert weights.read_text() == "weights\n"
    history = family.statuses()["a"]["history"]
    assert [entry["phase"] for entry in history if "lost" in entry] == ["Succeeded"]
    assert "a file of an artifact is damaged" in family.log()
    assert family.ran() == {}


def lost_and_made(site: Site) -> bool:
    entries = site.statuses()["a"]["history"]
    return site.phases()["a"] == "Ready" and any("lost" in entry for entry in entries)


def verified_at(site: Site, name: str) -> str | None:
    at: str | None = site.statuses()[name].get("artifact", {}).get("verified")
    return at


def test_everything_is_made_anew_after_the_state_was_deleted(family: Site) -> None:
    remove_tree(family.root / "state")
    done = family.run_once()
    assert done.returncode == 0, done.stderr
    assert family.ran() == {"a": 1, "b": 1}
    assert family.phases() == {"a": "Ready", "b": "Ready"}
    assert (artifact(family, "a") / "weights").exists()


def test_one_deleted_artifact_is_made_anew_and_nothing_else(family: Site) -> None:
    remove_tree(artifact(family, "a"))
    assert family.run_once().returncode == 0
    assert family.ran() == {"a": 1}
    assert family.phases() == {"a": "Ready", "b": "Ready"}


def test_an_artifact_of_which_a_file_was_deleted_is_made_anew(family: Site) -> None:
    folder = artifact(family, "a")
    folder.chmod(0o755)
    (folder / "weights").unlink()
    assert family.run_once().returncode == 0
    assert family.ran() == {"a": 1}


def test_a_revert_to_a_deleted_artifact_makes_it_anew(family: Site) -> None:
    old = artifact(family, "b")
    family.finetune("b", "a", params={"epochs": 2})
    family.push()
    assert family.run_once().returncode == 0
    remove_tree(old)
    family.finetune("b", "a")
    family.push()
    assert family.run_once().returncode == 0
    assert family.ran() == {"b": 2}
    assert artifact(family, "b") == old
    assert (old / "completed.json").exists()


def test_a_finetune_of_a_deleted_base_waits_for_it_to_be_made_anew(family: Site) -> None:
    shutil.copytree(artifact(family, "a"), family.root / "copy")
    remove_tree(artifact(family, "a"))
    family.finetune("c", "a")
    family.push()
    assert family.run_once().returncode == 0
    assert family.ran() == {"a": 1, "c": 1}
    assert family.phases() == {"a": "Ready", "b": "Ready", "c": "Ready"}
