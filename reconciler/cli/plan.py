"""``reconciler plan``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning
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
from reconciler.review import plan_document, render_markdown, render_text, review


@click.command()
@click.option("--base", required=True, metavar="REV", help="The commit before the change.")
@click.option("--head", required=True, metavar="REV", help="The commit after it.")
@repo_option
@format_option("text", "markdown", "json")
@click.option(
    "--all", "everything", is_flag=True, help="List also what a sync of BASE would do as well."
)
@config_option
def plan(
    base: str, head: str, folder: Path, style: str, everything: bool, config_file: Path
) -> None:
    """Show what the change from commit BASE to commit HEAD would do.

    It compares a sync of each of both commits with the last recorded status: the tasks that would
    run, wait, be cancelled or be held, and the objects that would be removed. Nothing is run, and
    no cluster is needed. What a sync of BASE would do as well is counted, not listed.

    Exits with 0 if nothing would change, with 2 if something would, and with 1 if a manifest is
    wrong. In a GitHub Actions workflow, errors are printed as annotations as well.
    """
    setup = load_if_there(config_file)
    planning = Planning(setup, open_clone(folder), ahead=True)
    note_refused(planning.state)
    old, new = planning.read(base), planning.read(head)
    after, before = planning.planned(new), planning.plan(old)
    errors = after.resolved.objects.errors
    found = review(after.plan, before=before, errors=errors, basis=planning.basis(after.plan))
    if style == "json":
        click.echo(json_text(plan_document(found)))
    elif style == "markdown":
        click.echo(render_markdown(found))
    else:
        with annotating(found.errors, root=folder):
            click.echo(render_text(found, everything=everything))
    if found.errors:
        sys.exit(ExitCode.FAILURE)
    sys.exit(ExitCode.FINDINGS if found.changes else ExitCode.FINE)
