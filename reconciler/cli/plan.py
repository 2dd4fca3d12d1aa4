"""``reconciler plan``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning
from reconciler.cli.options import config_option, format_option, load_if_there, repo_option
from reconciler.cli.plan_text import text
from reconciler.cli.workflow import annotating
from reconciler.git import LocalRepository
from reconciler.review import render_markdown, review


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
    planning = Planning(setup, LocalRepository.open(folder), ahead=True)
    old, new = planning.read(base), planning.read(head)
    errors = new.collection.problems
    found = review(planning.plan(new), before=planning.plan(old), errors=errors)
    if style == "json":
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    elif style == "markdown":
        click.echo(render_markdown(found))
    else:
        with annotating(found.errors, root=folder):
            click.echo(text(found, everything=everything))
    sys.exit(1 if found.errors else 2 if found.changes else 0)
