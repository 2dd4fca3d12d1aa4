"""``reconciler plan``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning
from reconciler.cli.collected import collection_lines
from reconciler.cli.exit_codes import ExitCode
from reconciler.cli.options import (
    config_option,
    format_option,
    load_if_there,
    open_clone,
    repo_option,
)
from reconciler.cli.recorded_state import note_refused
from reconciler.cli.terminal import json_text
from reconciler.cli.workflow import annotating
from reconciler.git import GitError, LocalRepository, run_as_user
from reconciler.review import Review, render_markdown, render_text, review
from reconciler.status import (
    MOST_LINES,
    CollectionReport,
    collection_markdown,
    collection_summary,
    of_objects,
)
from reconciler.types import Commit
from reconciler.workspace import CommitSnapshot

#: The revision by which a command names the working tree.
WORKTREE = "WORKTREE"


@click.command()
@click.option(
    "--base",
    metavar="REV",
    help="The commit before the change.  [default: the upstream of the branch]",
)
@click.option(
    "--head",
    default=WORKTREE,
    show_default=True,
    metavar="REV",
    help="The commit after it; WORKTREE is the files as they are, committed or not.",
)
@repo_option
@format_option("text", "markdown", "json")
@click.option(
    "--all", "everything", is_flag=True, help="List also what a sync of BASE would do as well."
)
@config_option
def plan(
    base: str | None, head: str, folder: Path, style: str, everything: bool, config_file: Path
) -> None:
    """Show what the change from commit BASE to commit HEAD would do.

    Without options, it is that of the working tree: of all files that Git does not ignore, against
    the upstream of the branch that is checked out. Nothing of the repository changes by it.

    It compares a sync of each of both commits with the last recorded status: the tasks that would
    run, wait, be cancelled or be held, and the objects that would be removed. Nothing is run, and
    no cluster is needed. What a sync of BASE would do as well is counted, not listed.

    Exits with 0 if nothing would change, with 2 if something would, and with 1 if a manifest is
    wrong. In a GitHub Actions workflow, errors are printed as annotations as well.
    """
    setup = load_if_there(config_file)
    clone = open_clone(folder)
    planning = Planning(setup, clone, ahead=True)
    note_refused(planning.state)
    old = planning.read(base if base is not None else upstream_of(clone))
    with ExitStack() as stack:
        if head == WORKTREE:
            head = stack.enter_context(working_tree_commit(clone))
        new = planning.read(head)
        found = _reviewed(planning, old, new)
    if style == "json":
        from reconciler.review import plan_document  # noqa: PLC0415 -- the format of programs

        click.echo(json_text(plan_document(found)))
    elif style == "markdown":
        click.echo(render_markdown(found))
        refs = {each.ref for each in found.objects}
        if told := collection_markdown(planning.state.collection, refs):
            click.echo(f"\n{told}")
    else:
        with annotating(found.errors, root=folder):
            click.echo(render_text(found, everything=everything))
        _print_collection(planning.state.collection, found, everything=everything)
    if found.errors:
        sys.exit(ExitCode.FAILURE)
    sys.exit(ExitCode.FINDINGS if found.changes else ExitCode.FINE)


def _print_collection(report: CollectionReport | None, found: Review, *, everything: bool) -> None:
    """Print the unreferenced artifacts of the last collection.

    Listed are those of the objects that the change affects, or with ``everything`` all.
    """
    if report is None or not report.collected:
        return
    touched = {each.ref for each in found.objects}
    listed = report if everything else of_objects(report, touched)
    if listed.collected:
        click.echo("\n" + click.style("Artifacts, by the last collection:", bold=True))
        for line in collection_lines(listed, found.now, MOST_LINES):
            click.echo(line)
    hint = "" if len(listed.collected) == len(report.collected) else " (--all lists them)"
    click.echo(f"{collection_summary(report)}{hint}.")


def _reviewed(planning: Planning, old: CommitSnapshot, new: CommitSnapshot) -> Review:
    """Compare the syncs of two commits."""
    after, before = planning.planned(new), planning.plan(old)
    errors = after.resolved.objects.errors
    return review(after.plan, before=before, errors=errors, basis=planning.basis(after.plan))


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
