"""A Dataset that observes a folder, through the real daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.site import Site

READ = 'cat "$DATA_DIR"/* > "$MODEL_DIR/weights"\n'
#: Ends within the next whole second at the latest, so that each run takes a new listing.
SHORT = ("--patience", "3s")


@pytest.fixture
def data(site: Site) -> Path:
    """A folder of data, and a Model that is trained on it."""
    site.configure(sources={"interval": "1s"})
    folder = site.root / "data"
    folder.mkdir()
    (folder / "part-1").write_text("one\n")
    return folder


def observe(site: Site, folder: Path, mode: str, update: str = "", body: str = READ) -> None:
    dataset = {
        "kind": "Dataset",
        "metadata": {"name": "d", "annotations": {"substratus.ai/update": update}},
        "spec": {"source": {"bucket": {"url": folder.as_uri(), "update": mode}}},
    }
    site.write("d.yaml", json.dumps(dataset))
    site.trained("m", body, more="    dataset: {name: d}\n")
    site.push()


def once(site: Site) -> dict[str, Any]:
    """Run until nothing is left to do; returns what each object's status says."""
    done = site.run_once(*SHORT)
    assert done.returncode in (0, 3), done.stdout
    return site.statuses()


def told(status: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each.get("message", "") for each in status["conditions"]}


def weights(status: dict[str, Any]) -> str:
    return (Path(status["artifact"]["url"].removeprefix("file://")) / "weights").read_text()


def test_what_is_added_to_a_followed_folder_is_trained_on(site: Site, data: Path) -> None:
    observe(site, data, "Follow")
    first = once(site)
    assert weights(first["m"]) == "one\n"
    assert first["d"]["source"]["listing"]["files"] == 1
    assert once(site) == first, "nothing has changed"
    (data / "part-2").write_text("two\n")
    second = once(site)
    assert site.ran() == {"m": 2}
    assert weights(second["m"]) == "one\ntwo\n"
    assert second["d"]["source"]["listing"]["files"] == 2


def test_a_model_says_that_its_pinned_data_has_changed_underneath(site: Site, data: Path) -> None:
    observe(site, data, "Pin")
    first = once(site)
    assert told(first["m"]).keys() == {"Ready"}
    (data / "part-2").write_text("two\n")
    second = once(site)
    assert second["m"]["artifact"] == first["m"]["artifact"]
    assert "(2 files, 8 bytes)" in told(second["d"])["UpdateAvailable"]
    assert "has changed underneath" in told(second["m"])["DataChanged"]
    observe(site, data, "Pin", update="2026-11-29")
    third = once(site)
    assert site.ran() == {"m": 2}
    assert weights(third["m"]) == "one\ntwo\n"
    assert told(third["m"]).keys() == {"Ready"}


def test_a_model_says_that_data_changed_while_it_was_trained(site: Site, data: Path) -> None:
    alias = site.root / "alias"  # the folder itself is read-only to the command
    os.link(data / "part-1", alias)
    observe(site, data, "Follow", body=f"{READ}echo more >> {alias}\n")
    status = once(site)["m"]
    assert "has changed while the command ran" in told(status)["DataChangedMeanwhile"]
