"""``reconciler init``."""

from __future__ import annotations

import shlex
import shutil
from importlib import resources
from pathlib import Path

import click
import pygit2

from reconciler.cli.options import config_option
from reconciler.git import GitError

_BRANCH = "main"


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@config_option
def init(directory: Path, config_file: object) -> None:
    """Create a Git repository with example manifests in DIR.

    It contains Models and Datasets, the code that they are built from, and a configuration file,
    reconciler.yaml. Everything is committed: `cd DIR && reconciler run --once` trains them.
    """
    if directory.exists() and any(directory.iterdir()):
        raise click.BadParameter(f"{directory} is not empty")
    was_there = directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{directory} cannot be made: {error.strerror}") from error
    try:
        _fill(directory)
    except BaseException:
        _empty(directory, remove=not was_there)
        raise
    here = directory.resolve() == Path().resolve()
    enter = "" if here else f"  cd {shlex.quote(str(directory))}\n"
    click.echo(
        f"Made {directory}: a Git repository with example manifests and a reconciler.yaml.\n\n"
        f"{enter}"
        "  reconciler run --once     # build, load and train what the manifests ask for\n"
        "  reconciler status         # what came of it\n\n"
        "Then change a param in models/, commit, and run again; README.md says more."
    )


def _fill(directory: Path) -> None:
    with resources.as_file(_scaffold()) as scaffold:
        shutil.copytree(
            scaffold,
            directory,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    try:
        _commit(pygit2.init_repository(directory, initial_head=_BRANCH))
    except pygit2.GitError as error:  # a ~/.gitconfig that cannot be read, say
        raise GitError(f"{directory} cannot be made a repository: {error}") from error


def _empty(directory: Path, *, remove: bool) -> None:
    """Undo :func:`_fill`, so that the command can be called again."""
    if remove:
        shutil.rmtree(directory, ignore_errors=True)
        return
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _scaffold() -> resources.abc.Traversable:
    """The examples: inside an installed package, or beside it in a checkout."""
    packaged = resources.files("reconciler") / "scaffold"
    if packaged.is_dir():
        return packaged
    return resources.files("reconciler") / ".." / "examples-repo"


def _commit(repository: pygit2.Repository) -> None:
    repository.index.add_all()
    repository.index.write()
    tree = repository.index.write_tree()
    author = _author(repository)
    message = "Start from the examples\n"
    repository.create_commit("HEAD", author, author, message, tree, [])


def _author(repository: pygit2.Repository) -> pygit2.Signature:
    try:
        return repository.default_signature
    except (KeyError, pygit2.GitError):  # user.name or user.email is not configured
        return pygit2.Signature("reconciler", "reconciler@localhost")
