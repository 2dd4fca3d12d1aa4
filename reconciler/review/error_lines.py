"""Lines of errors, as compilers print them."""

from __future__ import annotations

import click

from reconciler.review.escape import printable
from reconciler.types import Problem


def error_line(problem: Problem) -> str:
    """``file:line:column: error: field: message``, the form that compilers use."""
    where = click.style(printable(str(problem.location)), bold=True)
    field = f"{printable(problem.field)}: " if problem.field else ""
    return f"{where}: {click.style('error', fg='red')}: {field}{printable(problem.message)}"
