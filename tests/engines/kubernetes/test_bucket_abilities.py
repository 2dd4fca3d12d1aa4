"""What each driver is relied on for: by its definition, and nowhere else."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from reconciler.config import DriverName
from reconciler.engines.kubernetes.buckets.interface import (
    DIRECT_NEEDS,
    Ability,
    Driver,
    Writes,
)
from reconciler.engines.kubernetes.buckets.registry import DRIVERS
from reconciler.engines.kubernetes.config import ClusterSettings
from tests.engines.kubernetes.specs import environment_of, main_of, mounts_of, settings_of, setup_of
from tests.engines.kubernetes.test_render_settings import wrong
from tests.specs import KEY, train

DOCS = Path(__file__).parents[3] / "docs" / "buckets.md"
_COLUMNS = [ability for ability in Ability if ability is not Ability.OWNERS]
EVERY = pytest.mark.parametrize("name", DRIVERS)


def bucket_of(name: DriverName, **more: Any) -> dict[str, Any]:
    host = "" if name == "hostpath" else "models"
    return {"url": f"{DRIVERS[name].scheme or 'sftp'}://{host}/x", "driver": name, **more}


def test_direct_is_for_what_can_do_all_that_it_needs() -> None:
    assert {n for n, driver in DRIVERS.items() if Writes.DIRECT in driver.writes} == {
        "gcsfuse",
        "hostpath",
        "pvc",
    }
    for missing in DIRECT_NEEDS:
        can = frozenset(Ability) - {missing}
        driver = Driver(name="pvc", scheme=None, can=can, takes=frozenset(), mount=_no_mount)
        assert driver.writes == (Writes.STAGED,)


@EVERY
def test_a_bucket_is_written_directly_only_where_its_driver_can(
    tmp_path: Path, name: DriverName
) -> None:
    driver, asked = DRIVERS[name], bucket_of(name, writes="direct")
    if driver.can >= DIRECT_NEEDS:
        container = main_of(_training(name), _settings(tmp_path, name, writes="direct"))
        assert mounts_of(container)["/model/saved"]["name"] != "staging"
    else:
        told = wrong(tmp_path, buckets={"default": asked})
        assert f"buckets.default.writes: {name} can only do staged" in told


@EVERY
def test_every_bucket_can_be_staged_and_needs_nothing_for_it(
    tmp_path: Path, name: DriverName
) -> None:
    container = main_of(_training(name), _settings(tmp_path, name, writes="staged"))
    assert mounts_of(container)["/model/saved"] == {"name": "staging"}
    assert "RECONCILER_LACKS" not in environment_of(container)


@EVERY
def test_the_wrapper_is_told_what_a_directory_that_it_writes_cannot_do(
    tmp_path: Path, name: DriverName
) -> None:
    driver = DRIVERS[name]
    if Writes.DIRECT not in driver.writes:
        return
    told = environment_of(main_of(_training(name), _settings(tmp_path, name)))
    lacking = {Ability.ATOMIC_RENAME, Ability.STORED_SYMLINK} - driver.can
    assert set(told.get("RECONCILER_LACKS", "").split()) == lacking
    assert bool(lacking) == (name == "gcsfuse")


def test_the_scripts_ask_for_abilities_that_there_are() -> None:
    package = resources.files("reconciler.engines.kubernetes")
    asked = {
        word
        for file in package.iterdir()
        if file.name.endswith(".sh")
        for word in re.findall(r"\blacks ([a-z-]+)\b", file.read_text())
    }
    assert asked == {Ability.ATOMIC_RENAME, Ability.STORED_SYMLINK}
    driver = Driver(name="pvc", scheme=None, can=frozenset(), takes=frozenset(), mount=_no_mount)
    assert set(driver.lacks) == asked


@EVERY
def test_a_bucket_that_is_collected_by_renames_can_rename(tmp_path: Path, name: DriverName) -> None:
    bucket = bucket_of(name)
    setup = setup_of(tmp_path, buckets={"default": bucket})
    if setup.is_mounted(bucket["url"]):
        assert Ability.RENAME_FILE in DRIVERS[name].can
    else:
        assert name in ("gcsfuse", "mountpoint-s3", "azure-blob")


@EVERY
def test_the_docs_say_what_each_driver_can_do(name: DriverName) -> None:
    driver = DRIVERS[name]
    (row,) = re.findall(rf"^\| `{name}` \|.*$", _table(), re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == ["yes" if ability in driver.can else "no" for ability in _COLUMNS]


def _table() -> str:
    text = DOCS.read_text()
    start = text.index("| relied on for |")
    return text[start : text.index("\n\n", start)]


def _training(name: DriverName) -> Any:
    return train(output=f"{bucket_of(name)['url']}/own/{KEY}/", base=None, dataset=None)


def _settings(root: Path, name: DriverName, **more: Any) -> ClusterSettings:
    return settings_of(root, buckets={"default": bucket_of(name, **more)})


def _no_mount(directory: Any) -> Any:
    raise AssertionError(directory)
