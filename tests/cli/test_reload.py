"""A configuration that changes under a daemon, however it does, is taken up once it is right."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler.cli import run
from reconciler.cli.options import load
from reconciler.cli.run import _watch_config
from reconciler.config import Setup
from tests.engines.local.bench import until
from tests.patience import PATIENCE


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


@dataclass
class Mount:
    """A ConfigMap's folder as a kubelet keeps it: the file is a link, by way of ``..data``."""

    folder: Path

    def publish(self, name: str, text: str) -> Path:
        """Swap the content, and remove the old one; returns the file."""
        new, data, file = self.folder / f"..{name}", self.folder / "..data", self.folder / "r.yaml"
        new.mkdir(parents=True)
        (new / "r.yaml").write_text(text)
        old = data.resolve() if data.exists() else None
        (self.folder / "..tmp").symlink_to(new.name)
        (self.folder / "..tmp").rename(data)
        if old is not None:
            shutil.rmtree(old)
        elif not file.is_symlink():
            file.symlink_to("..data/r.yaml")
        return file


def text(cluster: str) -> str:
    return f"cluster: {cluster}\nrepository: {{url: ./manifests}}\n"


async def test_a_mounted_configuration_is_taken_up_also_after_a_wrong_one(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "mount")
    file = mount.publish("first", text("first"))
    with capture_logs() as logs:
        async with watching(file) as setups:
            mount.publish("broken", "cluster: [")
            await until(lambda: logs, "the complaint")
            mount.publish("second", text("second"))
    assert [setup.config.cluster for setup in setups] == ["second"]
    assert setups[0].folder == mount.folder, "what is relative to it outlives the next swap"


async def test_a_swap_of_a_mount_that_changes_nothing_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[Setup]()

    def noted(file: Path, *, required: bool = False) -> Setup:
        read.append(load(file, required=required))
        return read[-1]

    monkeypatch.setattr(run, "load", noted)
    mount = Mount(tmp_path / "mount")
    file = mount.publish("first", text("same"))
    async with watching(file) as setups:
        await until(lambda: len(read) == 1, "the first look")
        mount.publish("second", text("same"))
        await until(lambda: len(read) == 2, "a look at the second")
        assert setups == []
        mount.publish("third", text("third"))
    assert [setup.config.cluster for setup in setups] == ["third"]


async def test_a_link_that_leads_to_another_folder_is_another_configuration(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "reconciler.yaml", "same")
    link = tmp_path / "link.yaml"
    link.symlink_to("a/reconciler.yaml")
    async with watching(link) as setups:
        (tmp_path / "new").symlink_to("b/reconciler.yaml")
        (tmp_path / "new").rename(link)
    assert [setup.folder for setup in setups] == [tmp_path / "b"]


async def test_no_event_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system, or where all watches are used up."""

    def used_up(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "OS file watch limit reached")

    monkeypatch.setattr(run, "awatch", used_up, raising=False)
    file = tmp_path / "reconciler.yaml"
    write(file, "first")
    async with watching(file) as setups:
        write(file, "second")
    assert [setup.config.cluster for setup in setups] == ["second"]
