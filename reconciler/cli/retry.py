"""``reconciler retry``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from reconciler.cli.clone_planning import clock
from reconciler.cli.manifest_commit import EditedManifest
from reconciler.cli.options import config_option, repo_option
from reconciler.cli.select import kind_option, name_argument, namespace_option
from reconciler.manifests import RETRY_ANNOTATION, annotate
from reconciler.planner import TaskPhase


@click.command()
@name_argument(required=True)
@click.option("--commit", is_flag=True, help="Commit the change on the branch that is checked out.")
@namespace_option
@kind_option
@repo_option
@config_option
def retry(
    name: str,
    commit: bool,
    namespace: str | None,
    kind: str | None,
    folder: Path,
    config_file: Path,
) -> None:
    """Run the failed tasks of NAME once more.

    NAME may also be a key, or the first 6 or more digits of one. A failed task runs
    again only when its inputs or settings change, to which the annotation substratus.ai/retry
    belongs. This command gives that annotation a new value: it prints a patch for `git apply`, or
    with --commit commits the change. The daemon runs the task once the commit is on the branch that
    it follows, so push it there.
    """
    edited = EditedManifest.find(
        name, namespace=namespace, kind=kind, folder=folder, config_file=config_file
    )
    _check_failed(edited)
    manifest = edited.manifest
    value = _next(manifest.document.metadata.annotations.get(RETRY_ANNOTATION, ""), clock())
    changed = annotate(
        edited.text, file=manifest.file, ref=edited.ref, name=RETRY_ANNOTATION, value=value
    )
    if not commit:
        click.echo(edited.patch(changed), nl=False)
        return
    what = f"{RETRY_ANNOTATION}: {value}"
    click.echo(edited.commit(changed, f"Retry {edited.ref}", what, effect="runs"))


def _check_failed(edited: EditedManifest) -> None:
    """Raise ClickException if nothing has failed: a retry does nothing then.

    Of a manifest that is not the synced one this is only noted.
    """
    record = edited.record
    if record is None or any(task.phase is TaskPhase.FAILED for task in record.tasks):
        return
    text = (
        f"{record.ref} is {record.phase}, and none of its tasks has failed: a retry runs only what "
        "has. To make a finished artifact once more, change the section's `rerun`"
    )
    if edited.is_synced:
        raise click.ClickException(text)
    click.echo(f"Note: by the last recorded sync {text}.", err=True)


def _next(known: str, now: datetime) -> str:
    """The next number after a number; else the time, which is unused."""
    if not known or known.isdecimal():
        return str(int(known or 0) + 1)
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
