"""A handle on a repository is used in the threads of syncs, pushes and exports alone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.config import load_setup
from reconciler.daemon.app import assemble
from reconciler.daemon.once import OncePatience
from reconciler.daemon.shutdown import WritePermission
from reconciler.metrics import Metrics
from tests.e2e.site import Site

_used: set[tuple[str, str]] = set()


class Watched(pygit2.Repository):
    """Notes what is used of it, and in which thread."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__"):
            _used.add((threading.current_thread().name, name))
        return super().__getattribute__(name)


async def sync(site: Site) -> None:
    setup = load_setup(site.root / "reconciler.yaml", {})
    daemon = await assemble(
        setup, WritePermission(), metrics=Metrics(), observe=lambda *_: None, once=True
    )
    _used.clear()
    await daemon.run(once=OncePatience(0.1))


async def test_the_event_loop_uses_no_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    monkeypatch.setattr(pygit2, "Repository", Watched)
    used: set[tuple[str, str]] = set()
    # Their sources are not there, so nothing runs. One is made, removed, and comes back.
    for number in range(9):
        site.scratch(f"other-{number}")
    for exists in (True, False, True):
        if exists:
            site.scratch("a")
        else:
            site.remove("a.yaml")
        site.push()
        await sync(site)
        used |= _used
        assert ("a" in site.statuses()) is exists
    here = threading.current_thread().name
    assert used, "the handles were watched"
    assert not {name for thread, name in used if thread == here}
