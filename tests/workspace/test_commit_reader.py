"""What is read of a commit, and what of it is refused."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from reconciler.errors import GitError
from reconciler.git import Repository
from reconciler.planner import PlanCache
from reconciler.types import Commit
from reconciler.workspace import CommitReader, CommitSnapshot
from reconciler.workspace import commit_reader as module
from tests.git.history import Content, History
from tests.git.remotes import make_bare

MODEL = (
    "kind: Model\nmetadata: {{name: {}}}\nspec: {{source: {{git: {{url: https://git.test/r}}}}}}\n"
)


def read(history: History, commit: Commit, cache: PlanCache | None = None) -> CommitSnapshot:
    reader = CommitReader(
        Repository(history.repository), path="", namespace="default", clusters=None
    )
    return reader.read(commit, cache or PlanCache())


def test_a_commit_with_too_many_bytes_of_manifests_is_refused(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path))
    files: dict[str, Content] = {"a.yaml": MODEL.format("a"), "b.yaml": MODEL.format("b")}
    commit = history.commit(files)
    larger = history.commit({**files, "c.yaml": "#" * (1 << 20)})
    other = history.commit({**files, "data.json": "#" * ((1 << 20) + 1)})
    with mock.patch.object(module, "LARGEST_MANIFESTS", 1 << 20):
        cache = PlanCache()
        assert len(read(history, commit, cache).collection.objects) == 2
        assert len(read(history, other, cache).collection.objects) == 2, "it is passed over"
        with pytest.raises(GitError, match=r"manifests of commit .* have 1 MiB, more than 1 MiB"):
            read(history, larger, cache)


def test_an_ignore_file_with_too_many_patterns_is_an_error(tmp_path: Path) -> None:
    history = History(make_bare(tmp_path))
    patterns = "".join(f"{number}.yaml\n" for number in range(1001))
    snapshot = read(
        history, history.commit({"a.yaml": MODEL.format("a"), ".reconcilerignore": patterns})
    )
    (problem,) = snapshot.collection.problems
    assert str(problem) == (
        ".reconcilerignore: the file has more than 1,000 patterns, or one of more than 1,000 "
        "characters; those are not used"
    )
    assert snapshot.unreadable is not None  # so that nothing is pruned
