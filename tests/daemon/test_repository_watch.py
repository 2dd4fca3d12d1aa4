"""A commit to a repository on this disk is noticed without a poll."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from reconciler.daemon.app import watching
from reconciler.daemon.wake import Wake
from tests.e2e.site import git
from tests.patience import PATIENCE


@pytest.mark.parametrize("bare", [False, True], ids=["a clone", "a bare one"])
async def test_a_commit_wakes_the_daemon(tmp_path: Path, bare: bool) -> None:
    repository = tmp_path / "manifests"
    kind = ["--bare"] if bare else []
    git(tmp_path, "init", "--quiet", *kind, "--initial-branch=main", str(repository))
    wake = Wake(fetch=False)
    async with watching(repository.as_uri(), wake), asyncio.timeout(PATIENCE):
        while not wake.fetch:  # until the watch has begun, nothing is told
            tree = git(repository, "mktree").strip()
            commit = git(repository, "commit-tree", tree, "-m", "One").strip()
            git(repository, "update-ref", "refs/heads/main", commit)
            await asyncio.sleep(0.1)
            git(repository, "update-ref", "-d", "refs/heads/main")
