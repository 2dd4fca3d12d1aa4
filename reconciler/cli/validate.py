"""``reconciler validate``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from reconciler.cli.configured import configuration_problems
from reconciler.cli.options import config_option, format_option, load_if_there
from reconciler.cli.workflow import annotating
from reconciler.config import Setup
from reconciler.git import GitError, LocalRepository, is_local, local_path
from reconciler.manifests import (
    IGNORE_FILE,
    LARGEST_FILE,
    Admission,
    Collection,
    FileContent,
    Ignore,
    check_folders,
    collect,
    is_manifest_path,
    place,
    read_file,
)
from reconciler.review import error_line
from reconciler.types import Location, Problem


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH ...]")
@format_option("text", "json")
@config_option
def validate(paths: tuple[str, ...], style: str, config_file: Path) -> None:
    """Check manifests, in files, folders or from standard input ('-').

    Without a PATH, this folder is checked, or the folder of repository.path in it. Files that Git
    ignores or that .reconcilerignore names are skipped. All errors are printed at once, each with
    file, line, column and field.

    If every PATH is a file, references to objects in other files are not checked. With a
    configuration file, values that it does not admit are errors as well: URLs of sources, and on
    Kubernetes profiles, GPU types and Secrets.

    Exits with 0 if all is well, with 2 on errors. In a GitHub Actions workflow, errors are printed
    as annotations as well.
    """
    setup = load_if_there(config_file)
    namespace = setup.config.kubernetes.namespace if setup else "default"
    whole = not paths or any(Path(path).is_dir() for path in paths)
    contents = [
        read_file(name, data, default_namespace=namespace)
        for name, data in _read_all(paths or (_default(setup),), setup.root if setup else None)
    ]
    contents = [_held(content) for content in contents]
    found = collect(
        contents,
        complete=whole,
        clusters=setup.config.clusters if setup else None,
        admission=_admission(setup) if setup else None,
    )
    ignored = [*_ignore_problems(paths or (_default(setup),))]
    found = replace(found, problems=(*ignored, *found.problems))
    root = _root(setup)
    if root is not None:
        found = check_folders(found, lambda path: _has_folder(root, path))
    if setup is not None:
        refused = configuration_problems(found.objects.values(), setup)
        found = replace(found, problems=tuple(sorted([*found.problems, *refused], key=place)))
    if style == "json":
        click.echo(json.dumps({"errors": [p.to_json() for p in found.problems]}, indent=2))
    else:
        with annotating(found.problems, root=Path()):
            _print(found, contents)
    sys.exit(2 if found.problems else 0)


def _admission(setup: Setup) -> Admission:
    """Return what manifests may name, by their real paths in the repository.

    Standard input counts as a file of the current folder.
    """
    root = (_root(setup) or Path()).resolve()

    def located(file: str) -> str:
        real = Path(file).resolve()
        return real.relative_to(root).as_posix() if real.is_relative_to(root) else str(real)

    admission = setup.admission
    return replace(admission, tenancy=replace(admission.tenancy, located=located))


def _root(setup: Setup | None) -> Path | None:
    """The root of the repository around the current folder."""
    if setup is not None and is_local(setup.repository_url):
        root = local_path(setup.repository_url).resolve()
        if Path().resolve().is_relative_to(root):
            return root
    with suppress(GitError):
        tree = LocalRepository.open(Path()).work_tree
        return tree.resolve() if tree is not None else None
    return None


def _has_folder(root: Path, path: str) -> bool:
    """Return whether a folder exists, without links, which Git does not follow."""
    folder = root / path
    return folder.is_dir() and folder.resolve() == folder


def _default(setup: Setup | None) -> str:
    """The folder of this cluster's manifests.

    Other clusters' manifests may be beside it, with the same names.
    """
    path = setup.config.repository.path if setup else ""
    return path if path and Path(path).is_dir() else "."


def _read_all(paths: Sequence[str], state: Path | None) -> Iterator[tuple[str, bytes]]:
    """Read the files of all paths, each file once.

    A folder and a file in it may both be given.
    """
    read: set[Path] = set()
    for path in paths:
        if path == "-":
            if sys.stdin is None:
                raise click.UsageError("standard input is closed")
            yield "<stdin>", sys.stdin.buffer.read(LARGEST_FILE + 1)
            continue
        for file in _named(path, state):
            place = file.resolve()
            if place not in read:
                read.add(place)
                yield file.as_posix(), _read_file(file)


def _ignore(folder: Path) -> Ignore:
    file = folder / IGNORE_FILE
    return Ignore.parse(file.read_bytes() if file.is_file() else b"")


def _ignore_problems(paths: Sequence[str]) -> Iterator[Problem]:
    for folder in map(Path, paths):
        if folder.is_dir() and (message := _ignore(folder).problem) is not None:
            yield Problem(Location((folder / IGNORE_FILE).as_posix()), "", message)


def _named(path: str, state: Path | None) -> Iterator[Path]:
    root = Path(path)
    if root.is_dir():
        ignore = _ignore(root)
        for file in _files(root, state):
            inside = file.relative_to(root).as_posix()
            if not ignore.matches(inside):
                yield file
        return
    if not root.exists():
        raise click.BadParameter(f"there is no file or folder {path}")
    yield root


def _files(root: Path, state: Path | None) -> Iterator[Path]:
    """The possible manifest files that a commit of a folder would have.

    Neither what Git ignores nor another repository in it, and not the daemon's own ``state``,
    which holds copies of sources, and the files of artifacts.
    """
    ignores = _ignores(root)
    for folder, folders, files in os.walk(root):
        inner = [Path(folder, name) for name in sorted(folders) if name != ".git"]
        folders[:] = [path.name for path in inner if path.resolve() != state and not ignores(path)]
        for path in (Path(folder, name) for name in sorted(files) if is_manifest_path(name)):
            if path.is_file() and not path.is_symlink() and not ignores(path):
                yield path


def _ignores(root: Path) -> Callable[[Path], bool]:
    """Return a test for paths that Git ignores, or are repositories.

    The test is false for all of a folder that is ignored itself, or in no repository.
    """
    with suppress(GitError):
        repository = LocalRepository.open(root)
        place = root.resolve()
        if not repository.ignores(place):
            return lambda path: (
                repository.ignores(place / path.relative_to(root)) or (path / ".git").exists()
            )
    return lambda _: False


def _read_file(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(LARGEST_FILE + 1)


def _held(content: FileContent) -> FileContent:
    """Confirm the doubts about a file that holds a manifest at HEAD."""
    if not content.doubts or content.path == "<stdin>":
        return content
    file = Path(content.path).resolve()
    with suppress(GitError):
        repository = LocalRepository.open(file.parent)
        root = repository.work_tree
        path = file.relative_to(root.resolve()).as_posix() if root is not None else ""
        before = repository.read_file(repository.resolve("HEAD"), path, LARGEST_FILE + 1)
        if before is not None and read_file(content.path, before).manifests:
            problems = (*content.problems, *content.doubts)
            return replace(content, problems=problems, broken=True)
    return content


def _print(found: Collection, contents: list[FileContent]) -> None:
    for problem in found.problems:
        click.echo(error_line(problem))
    manifests = len(found.objects) + len(found.invalid)
    others = sum(1 for content in contents if not content.manifests and not content.problems)
    summary = f"{manifests} manifest{'' if manifests == 1 else 's'}"
    if others:
        summary += f", {others} other file{'' if others == 1 else 's'} ignored"
    problems = len(found.problems)
    if problems:
        summary += f"; {problems} error{'' if problems == 1 else 's'}"
    click.echo(summary if not problems else click.style(summary, fg="red"))
