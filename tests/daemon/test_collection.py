"""Images and environments that no object uses any more are removed, and the rest stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.e2e.site import Site

DAY = 86400


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    bucket = {"default": {"url": (site.root / "bucket").as_uri()}}
    site.configure(buckets=bucket, log={"format": "text"})
    return site


def age(site: Site, days: int) -> None:
    for lock in (site.root / "state/locks").glob("use-*"):
        then = time.time() - days * DAY
        os.utime(lock, (then, then))


def built(site: Site) -> tuple[int, int]:
    """How many images and environments there are."""
    state = site.root / "state"
    return len(list(state.glob("images/*/image.json"))), len(list(state.glob("envs/*.json")))


def test_what_the_last_commit_does_not_use_is_removed_after_a_while(site: Site) -> None:
    site.script("src/a/train.sh", 'echo weights > "$MODEL_DIR/weights"\n')
    site.scratch("a")
    for text in ("# one\n", "# two\n"):
        site.write("src/a/requirements.txt", text)
        assert site.sync().returncode == 0
    age(site, days=6)
    done = site.run_once()
    assert (done.returncode, built(site)) == (0, (2, 2)), done.stderr
    age(site, days=8)
    done = site.run_once()
    assert (done.returncode, built(site)) == (0, (1, 1)), done.stderr
    assert done.stderr.count("unused and removed") == 2
    # A change of params alone finds its image; a revert to old code has it built again.
    site.scratch("a", params={"epochs": 1})
    assert site.sync().returncode == 0
    assert built(site) == (1, 1)
    site.write("src/a/requirements.txt", "# one\n")
    assert site.sync().returncode == 0
    assert (site.phases(), built(site)) == ({"a": "Ready"}, (2, 2))


def test_with_collection_off_everything_stays(site: Site) -> None:
    site.configure(local={"environments": {"enabled": False}})
    site.trained("a", 'echo weights > "$MODEL_DIR/weights"\n')
    assert site.sync().returncode == 0
    site.remove("a.yaml")
    assert site.sync().returncode == 0
    age(site, days=400)
    assert site.run_once().returncode == 0
    assert built(site)[0] == 1
