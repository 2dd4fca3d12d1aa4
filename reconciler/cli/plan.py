"""``reconciler plan``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning
from reconciler.cli.options import (
    config_option,
    format_option,
    load_if_there,
    open_clone,
    repo_option,
)
from reconciler.cli.terminal import json_text
from reconciler.cli.workflow import annotating
from reconciler.review import render_markdown, render_text, review


@click.command()
@click.option("--base", required=True, metavar="REV", help="The commit before the change.")
@click.option("--head", required=True, metavar="REV", help="The commit after it.")
@repo_option
@format_option("text", "markdown", "json")
@click.option("--all", "everything", is_flag=True, help="List what is not this change's doing too.")
@config_option
def plan(
    base: str, head: str, folder: Path, style: str, everything: bool, config_file: Path
) -> None:
    """Show the effects of a sync of HEAD on the recorded state.

    Nothing is run and no cluster is needed. What a sync of BASE would do as well is not the
    change's doing, and only counted. Exits with 2 if anything would change, and with 1 on errors
    in the manifests. In a workflow of GitHub Actions, errors are printed as annotations too.
    """
    setup = load_if_there(config_file)
    planning = Planning(setup, open_clone(folder), ahead=True)
    old, new = planning.read(base), planning.read(head)
    after, before = planning.planned(new), planning.plan(old)
    errors = after.resolved.objects.errors
    found = review(after.plan, before=before, errors=errors, basis=planning.basis(after.plan))
    if style == "json":
        click.echo(json_text(found.to_json()))
    elif style == "markdown":
        click.echo(render_markdown(found))
    else:
        with annotating(found.errors, root=folder):
            click.echo(render_text(found, everything=everything))
    sys.exit(1 if found.errors else 2 if found.changes else 0)
