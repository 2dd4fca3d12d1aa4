"""A configuration that changes under a daemon, however it does, is taken up once it is right."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler.cli.options import load
from reconciler.cli.run import _watch_config
from reconciler.config import Setup
from tests.engines.local.bench import until

PATIENCE = 30.0


def write(file: Path, cluster: str) -> None:
    file.write_text(f"cluster: {cluster}\nrepository: {{url: ./manifests}}\n")


@asynccontextmanager
async def watching(
    file: Path, meanwhile: Callable[[], None] = lambda: None
) -> AsyncIterator[list[Setup]]:
    """A watch of the file, which has changed once more before it began; ends when it has news."""
    setup, setups = load(file), list[Setup]()
    meanwhile()
    changed = asyncio.Event()
    watch = asyncio.create_task(_watch_config(file, setup, setups, changed, was_there=True))
    try:
        async with asyncio.timeout(PATIENCE):
            yield setups
            await changed.wait()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_what_changed_before_the_watch_began_is_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    write(file, "first")
    async with watching(file, meanwhile=lambda: write(file, "second")) as setups:
        pass
    assert [setup.config.cluster for setup in setups] == ["second"]


async def test_a_file_that_is_gone_for_a_moment_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_REPOSITORY__URL", "./manifests")
    file = tmp_path / "reconciler.yaml"
    write(file, "first")
    with capture_logs() as logs:
        async with watching(file, meanwhile=file.unlink) as setups:
            await until(lambda: logs, "the complaint")
            assert "there is no such file" in logs[0]["error"]
            write(file, "second")
    assert [setup.config.cluster for setup in setups] == ["second"]


async def test_a_configuration_that_is_mounted_is_swapped_by_a_link(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    for version in ("first", "second"):
        (mount / f"..{version}").mkdir(parents=True)
        write(mount / f"..{version}/reconciler.yaml", version)
    (mount / "..data").symlink_to("..first")
    file = mount / "reconciler.yaml"
    file.symlink_to("..data/reconciler.yaml")
    async with watching(file) as setups:
        (mount / "..new").symlink_to("..second")
        (mount / "..new").rename(mount / "..data")
        shutil.rmtree(mount / "..first")
    assert [setup.config.cluster for setup in setups] == ["second"]
