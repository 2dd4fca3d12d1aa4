"""``reconciler suspend``."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.manifest_commit import EditedManifest, commit_suspend
from reconciler.cli.options import config_option, dry_run_option, repo_option
from reconciler.cli.select import kind_option, name_argument, namespace_option


@click.command()
@name_argument(required=True)
@dry_run_option
@namespace_option
@kind_option
@repo_option
@config_option
def suspend(
    name: str,
    dry_run: bool,
    namespace: str | None,
    kind: str | None,
    folder: Path,
    config_file: Path,
) -> None:
    """Start nothing new of NAME: commit `spec.suspend: true`.

    NAME may also be a key, or the first 6 or more digits of one. What runs goes on to its end;
    `reconciler cancel` ends it as well. The commit is on the branch that is checked out, and takes
    effect once it is on the branch that the daemon follows. One that git refuses leaves everything
    as it was.
    """
    edited = EditedManifest.find(
        name, namespace=namespace, kind=kind, folder=folder, config_file=config_file
    )
    commit_suspend(edited, suspend=True, dry_run=dry_run)
