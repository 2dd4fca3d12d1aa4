"""Runs on artifacts that need a signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon.test_lost_artifacts import SAVE, flip
from tests.e2e.site import Site
from tests.signing_keys import KeyFiles, make_keys, sign_with_tool, verify_with_tool


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return make_keys(tmp_path)


@pytest.fixture
def site(tmp_path: Path, keys: KeyFiles) -> Site:
    """A base with a signed artifact, in a bucket that demands one."""
    site = Site(tmp_path)
    configure(site, keyFile=keys.private.name)
    site.trained("a", SAVE)
    assert site.sync().returncode == 0
    return site


def configure(site: Site, **signing: Any) -> None:
    bucket = {"url": (site.root / "bucket").as_uri(), "verify": "signature"}
    site.configure(buckets={"default": bucket}, signing=signing)


def refused(site: Site, name: str) -> str:
    """The message of an object whose run refuses its input."""
    status = site.statuses()[name]
    assert "ArtifactNotVerified" in str(status)
    return str(status)


def test_a_signed_base_is_used_and_the_result_is_signed(site: Site, keys: KeyFiles) -> None:
    site.finetune("b", "a")
    assert site.sync().returncode == 0
    for name in ("a", "b"):
        verify_with_tool(site.artifact(name), keys)


def test_a_base_that_is_not_as_it_was_signed_is_made_anew(site: Site) -> None:
    flip(site.artifact("a") / "weights")
    site.finetune("b", "a")
    site.ran()
    assert site.sync().returncode == 0
    assert site.ran() == {"a": 1, "b": 1}


def test_a_base_without_a_valid_signature_is_refused_and_kept(
    site: Site, keys: KeyFiles, tmp_path: Path
) -> None:
    other = make_keys(tmp_path, "other")
    configure(site, keyFile=other.private.name)
    site.finetune("b", "a")
    site.ran()
    site.push()
    assert site.run_once("--patience", "1s").returncode != 0
    assert site.ran() == {}
    assert "a key that is not trusted" in refused(site, "b")
    assert site.phases()["a"] == "Ready"


def test_data_that_no_task_made_is_used_as_it_was_signed(
    site: Site, keys: KeyFiles, tmp_path: Path
) -> None:
    data = tmp_path / "bucket" / "rows"
    data.mkdir()
    (data / "rows").write_text("rows")
    sign_with_tool(data, keys)
    bucket = f"spec: {{source: {{bucket: {{url: '{data.as_uri()}'}}}}}}\n"
    site.write("d.yaml", f"kind: Dataset\nmetadata: {{name: d}}\n{bucket}")
    site.finetune("b", "a")
    site.edit("b.yaml", "training:\n", "training:\n    dataset: {name: d}\n")
    assert site.sync().returncode == 0
    site.ran()
    (data / "rows").write_text("ROWS")
    site.finetune("c", "a")
    site.edit("c.yaml", "training:\n", "training:\n    dataset: {name: d}\n")
    site.push()
    assert site.run_once("--patience", "1s").returncode != 0
    assert site.ran() == {}
    assert "rows: has the size, but not the content" in refused(site, "c")


def test_a_former_key_is_trusted_where_it_is_listed(
    site: Site, keys: KeyFiles, tmp_path: Path
) -> None:
    other = make_keys(tmp_path, "other")
    configure(site, keyFile=other.private.name, publicKeyFiles=[keys.public.name])
    site.finetune("b", "a")
    assert site.sync().returncode == 0
    verify_with_tool(site.artifact("b"), other)
