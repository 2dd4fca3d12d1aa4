"""``reconciler validate``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.configured import configuration_problems
from reconciler.cli.exit_codes import ExitCode
from reconciler.cli.options import config_option, format_option, load_if_there
from reconciler.cli.terminal import tell
from reconciler.cli.workflow import annotating
from reconciler.git import GitError, LocalRepository, is_local, local_path
from reconciler.manifests import (
    IGNORE_FILE,
    LARGEST_FILE,
    Admission,
    FileContent,
    Ignore,
    check_folders,
    collect,
    is_manifest_path,
    place,
    read_file,
)
from reconciler.review import counted, error_line
from reconciler.types import Location, ObjectRef, Problem, ProblemList

if TYPE_CHECKING:
    from reconciler.config import Setup


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH ...]")
@format_option("text", "json")
@config_option
def validate(paths: tuple[str, ...], style: str, config_file: Path) -> None:
    """Check manifests, in files, folders or from standard input ('-').

    Without a PATH, this folder is checked, or the folder of repository.path in it. Files are read
    as they are on the disk, committed or not; those that Git ignores or that .reconcilerignore
    names are skipped. All errors are printed at once, each with file, line, column and field.

    References of a folder are looked up in its whole repository (below repository.path), whose
    other errors are not printed. If every PATH is a file, references to objects in other files are
    not checked. With a configuration file, values that it does not admit are errors as well: URLs
    of sources, and on Kubernetes profiles, GPU types and Secrets.

    Exits with 0 if all is well, with 2 on errors. In a GitHub Actions workflow, errors are printed
    as annotations as well.
    """
    setup = load_if_there(config_file)
    namespace = setup.config.kubernetes.namespace if setup else "default"
    named = paths or (_default(setup),)
    files = _Files(setup)
    contents = [
        _held(read_file(name, data, default_namespace=namespace))
        for name, data in files.read(named)
    ]
    around, complete = files.around(named)
    others = [read_file(name, data, default_namespace=namespace) for name, data in around]
    found = collect(
        [*contents, *others],
        complete=complete,
        clusters=setup.config.clusters if setup else None,
        admission=_admission(setup) if setup else None,
    )
    root = _root(setup)
    if root is not None:
        found = check_folders(found, lambda path: _has_folder(root, path))
    refused = configuration_problems(found.objects.values(), setup) if setup is not None else ()
    asked = _Asked.of(contents)
    problems = [p for p in (*found.problems, *refused) if asked.has(p)]
    problems = sorted([*files.ignore_problems(named), *problems], key=place)
    if style == "json":
        from reconciler.codec import Codec  # noqa: PLC0415 -- the format of programs

        errors = Codec(ProblemList, omit="nothing").dump(ProblemList.of(problems))
        click.echo(json.dumps(errors, indent=2))
    else:
        with annotating(problems, root=Path()):
            for problem in problems:
                click.echo(error_line(problem))
            of = f" of {named[0]}" if named[0] not in (".", *paths) else ""
            click.echo(_summary(contents, problems, of))
    sys.exit(ExitCode.FINDINGS if problems else ExitCode.FINE)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The files and objects that a user asks about."""

    files: frozenset[str]
    objects: frozenset[ObjectRef]

    @classmethod
    def of(cls, contents: Sequence[FileContent]) -> _Asked:
        refs = (manifest.ref for content in contents for manifest in content.manifests)
        return cls(frozenset(content.path for content in contents), frozenset(refs))

    def has(self, problem: Problem) -> bool:
        """Return whether a problem is in the files or of their objects."""
        return problem.location.file in self.files or problem.object in self.objects


def _admission(setup: Setup) -> Admission:
    """Return what manifests may name, by their real paths in the repository.

    Standard input counts as a file of the current folder.
    """
    from reconciler.config import admission  # noqa: PLC0415 -- only with a configuration

    root = (_root(setup) or Path()).resolve()

    def located(file: str) -> str:
        real = Path(file).resolve()
        return real.relative_to(root).as_posix() if real.is_relative_to(root) else str(real)

    rules = admission(setup)
    return replace(rules, tenancy=replace(rules.tenancy, located=located))


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


class _Files:
    """Reads the files of folders, and those around them, each once.

    Neither the daemon's own state is read, nor what .reconcilerignore names: that of the folder of
    all manifests, or outside of it that of the folder itself.
    """

    def __init__(self, setup: Setup | None) -> None:
        self._setup = setup
        self._state = setup.root if setup else None
        self._read: set[Path] = set()

    def read(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Read the files of paths. Raises UsageError."""
        for path in paths:
            if path == "-":
                if sys.stdin is None:
                    raise click.UsageError("standard input is closed")
                yield "<stdin>", sys.stdin.buffer.read(LARGEST_FILE + 1)
                continue
            yield from self._unread(Path(path))

    def around(self, paths: Sequence[str]) -> tuple[Iterable[tuple[str, bytes]], bool]:
        """Return the other files of the repositories; True for all of them.

        Prints a note where a folder is in no repository, or in no part of it that is synced.
        """
        folders = [Path(path) for path in paths if path != "-" and Path(path).is_dir()]
        bases = [self._base(folder) for folder in folders]
        whole = (Path().resolve(), Path(_default(self._setup)).resolve())
        for folder, base in zip(folders, bases, strict=True):
            if base is None and folder.resolve() not in whole:
                tell(
                    f"Note: {folder} is in no Git repository, so references to objects that are "
                    "not among these files are not checked.",
                    err=True,
                )
                return (), False
        others = sorted({base for base in bases if base is not None})
        read = (each for base in others for each in self._unread(_from_here(base)))
        return read, bool(folders)

    def ignore_problems(self, paths: Sequence[str]) -> Iterator[Problem]:
        """Yield the problems of the files .reconcilerignore that are used."""
        folders = (Path(path) for path in paths if Path(path).is_dir())
        for base in dict.fromkeys(self._base(folder) or folder for folder in folders):
            if (message := _ignore(base).problem) is not None:
                file = _from_here(base) / IGNORE_FILE
                yield Problem(Location(file.as_posix()), "", message)

    def _unread(self, path: Path) -> Iterator[tuple[str, bytes]]:
        for file in self._named(path):
            real = file.resolve()
            if real not in self._read:
                self._read.add(real)
                yield file.as_posix(), _read_file(file)

    def _named(self, path: Path) -> Iterator[Path]:
        if not path.is_dir():
            if not path.exists():
                raise click.BadParameter(f"there is no file or folder {path}")
            yield path
            return
        base = self._base(path) or path.resolve()
        ignore, inside = _ignore(base), path.resolve().relative_to(base)
        # A folder that is ignored as a whole is read where it is asked for by its name.
        asked = inside.parts and ignore.matches((inside / "-").as_posix())
        for file in _files(path, self._state):
            if asked or not ignore.matches((inside / file.relative_to(path)).as_posix()):
                yield file

    def _base(self, folder: Path) -> Path | None:
        """Return the folder of all manifests around a folder, or itself.

        None outside of a Git repository. A folder beside that of repository.path stands alone, as
        its manifests are another cluster's.
        """
        with suppress(GitError):
            tree = LocalRepository.open(folder).work_tree
            if tree is not None:
                path = self._setup.config.repository.path if self._setup else ""
                base = (tree / path).resolve()
                return base if folder.resolve().is_relative_to(base) else folder.resolve()
        return None


def _from_here(folder: Path) -> Path:
    """Return a folder's path, relative to the current folder."""
    return Path(os.path.relpath(folder))


def _ignore(folder: Path) -> Ignore:
    file = folder / IGNORE_FILE
    return Ignore.parse(file.read_bytes() if file.is_file() else b"")


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


def _summary(contents: Sequence[FileContent], problems: Sequence[Problem], of: str) -> str:
    """``2 manifests in 2 files are valid, 1 other file ignored``."""
    asked = _Asked.of(contents)
    faulty = {p.object for p in problems if p.location.file in asked.files and p.object is not None}
    manifests = len(asked.objects | faulty)
    ignored = sum(1 for content in contents if not content.manifests and not content.problems)
    text = f"{counted(manifests, 'manifest')} in {counted(len(contents) - ignored, 'file')}{of}"
    if not problems:
        text += " is valid" if manifests == 1 else " are valid"
    if ignored:
        text += f", {counted(ignored, 'other file')} ignored"
    if problems:
        text = click.style(f"{text}; {counted(len(problems), 'error')}", fg="red")
    return text
