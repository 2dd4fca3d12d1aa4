"""``reconciler validate``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from reconciler.cli.errors import error_line
from reconciler.cli.options import config_option, format_option, load_if_there
from reconciler.cli.workflow import annotating
from reconciler.manifests.collect import Collection, collect
from reconciler.manifests.ignore import Ignore, is_manifest_path
from reconciler.manifests.read import FileContent, read_file

IGNORE_FILE = ".reconcilerignore"
LARGEST_FILE = 1 << 20


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH ...]")
@format_option("text", "json")
@config_option
def validate(paths: tuple[str, ...], style: str, config_file: Path) -> None:
    """Check the manifests in files or folders ('-' reads standard input; default: this folder).

    All errors are reported at once, each with file, line, column and field. Given single files,
    references to objects that are not among them are not complained of. In a workflow of GitHub
    Actions, errors are printed as annotations too. Exits with 2 on errors.
    """
    setup = load_if_there(config_file)
    namespace = setup.config.kubernetes.namespace if setup else "default"
    whole = not paths or any(Path(path).is_dir() for path in paths)
    contents = [
        read_file(name, data, default_namespace=namespace)
        for path in paths or (".",)
        for name, data in _read(path)
    ]
    found = collect(contents, complete=whole, clusters=setup.config.clusters if setup else None)
    if style == "json":
        click.echo(json.dumps({"errors": [p.to_json() for p in found.problems]}, indent=2))
    else:
        with annotating(found.problems, root=Path()):
            _print(found, contents)
    sys.exit(2 if found.problems else 0)


def _read(path: str) -> Iterator[tuple[str, bytes]]:
    if path == "-":
        yield "<stdin>", sys.stdin.buffer.read(LARGEST_FILE + 1)
        return
    root = Path(path)
    if root.is_dir():
        ignore_file = root / IGNORE_FILE
        ignore = Ignore.parse(ignore_file.read_bytes() if ignore_file.is_file() else b"")
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if f != ".git")
            for name in sorted(files):
                file = Path(folder, name)
                inside = file.relative_to(root).as_posix()
                if (
                    is_manifest_path(inside)
                    and not file.is_symlink()
                    and not ignore.matches(inside)
                ):
                    yield file.as_posix(), _read_file(file)
        return
    if not root.exists():
        raise click.BadParameter(f"there is no file or folder {path}")
    yield path, _read_file(root)


def _read_file(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(LARGEST_FILE + 1)


def _print(found: Collection, contents: list[FileContent]) -> None:
    for problem in found.problems:
        click.echo(error_line(problem))
    manifests = len(found.objects) + len(found.invalid)
    others = sum(1 for content in contents if not content.manifests and not content.problems)
    told = f"{manifests} manifest{'' if manifests == 1 else 's'}"
    if others:
        told += f", {others} other file{'' if others == 1 else 's'} ignored"
    problems = len(found.problems)
    if problems:
        told += f"; {problems} error{'' if problems == 1 else 's'}"
    click.echo(told if not problems else click.style(told, fg="red"))
