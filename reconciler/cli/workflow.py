"""Manifest errors on a terminal, and as GitHub's workflow commands.

A runner reads commands from whatever a step prints. So while text is printed that may quote a pull
request, commands are switched off, with a random token that the text cannot contain.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from reconciler.types import Problem

#: GitHub shows no more than ten annotations of a kind for a step; a log should still end somewhere.
MOST = 50


@contextmanager
def annotating(problems: Sequence[Problem], *, root: Path) -> Iterator[None]:
    """Print problems as annotations after the block, in a GitHub workflow.

    Their files are relative to ``root``.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        yield
        return
    token = secrets.token_hex(16)
    click.echo(f"::stop-commands::{token}")
    yield
    click.echo(f"::{token}::")
    for problem in problems[:MOST]:
        click.echo(command(problem, root))


def command(problem: Problem, root: Path) -> str:
    """``::error file=…,line=…,col=…::message``."""
    location = problem.location
    properties = {"file": _inside(location.file, root)}
    if location.line:
        properties |= {"line": str(location.line), "col": str(max(location.column, 1))}
    joined = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    field = f"{problem.field}: " if problem.field else ""
    return f"::error {joined}::{_data(field + problem.message)}"


def _inside(file: str, root: Path) -> str:
    """A file as GitHub knows it: relative to the workspace."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if workspace:
        path = root.absolute() / file
        if path.is_relative_to(workspace):
            return path.relative_to(workspace).as_posix()
    return file


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
