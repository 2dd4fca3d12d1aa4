"""Working trees as commits, without a trace in their repositories."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from reconciler.git import GitError, LocalRepository, run_as_user
from reconciler.types import Commit

#: The revision by which a command names the working tree.
WORKTREE = "WORKTREE"
_IDENTITY = {
    "GIT_AUTHOR_NAME": "reconciler",
    "GIT_AUTHOR_EMAIL": "reconciler@localhost",
    "GIT_COMMITTER_NAME": "reconciler",
    "GIT_COMMITTER_EMAIL": "reconciler@localhost",
}


@contextmanager
def working_tree_commit(repository: LocalRepository) -> Iterator[Commit]:
    """Commit all files that Git does not ignore, for a while.

    Neither the index nor the objects of the repository change. Raises ClickException without a
    working tree, and ReconcilerError where git fails.
    """
    root = repository.work_tree
    if root is None:
        raise click.ClickException(f"{repository.path} is a bare repository: it has no files")
    head = repository.resolve("HEAD")
    with tempfile.TemporaryDirectory(prefix="reconciler-") as place:
        folder = Path(place)
        objects, index = folder / "objects", folder / "index"
        objects.mkdir()
        own = Path(run_as_user(root, "rev-parse", "--path-format=absolute", "--git-path", "index"))
        if own.is_file():
            # With its time: a file changed in the second of the index is told by that alone.
            shutil.copy2(own, index)
        there = run_as_user(root, "rev-parse", "--path-format=absolute", "--git-path", "objects")
        date = f"{int(repository.committed(head).timestamp())} +0000"
        variables = {
            **_IDENTITY,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": there,
        }
        run_as_user(root, "add", "--all", ".", more=variables)
        tree = run_as_user(root, "write-tree", more=variables)
        message = "The working tree"
        commit = run_as_user(root, "commit-tree", tree, "-p", head, "-m", message, more=variables)
        repository.add_objects(objects)
        yield Commit(commit)


def upstream_of(repository: LocalRepository) -> str:
    """Return the upstream of the current branch, else HEAD."""
    try:
        repository.resolve("@{upstream}")
    except GitError:
        click.echo(
            "Note: the branch that is checked out has no upstream, so the base is HEAD; --base "
            "names another.",
            err=True,
        )
        return "HEAD"
    return "@{upstream}"
