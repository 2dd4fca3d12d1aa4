"""Counts and error lines, without a plan."""

from __future__ import annotations

import click

from reconciler.review.escape import printable
from reconciler.types import Problem


def counted(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def error_line(problem: Problem) -> str:
    """``file:line:column: error: field: message``, the form that compilers use."""
    where = click.style(printable(str(problem.location)), bold=True)
    field = f"{printable(problem.field)}: " if problem.field else ""
    return f"{where}: {click.style('error', fg='red')}: {field}{printable(problem.message)}"
