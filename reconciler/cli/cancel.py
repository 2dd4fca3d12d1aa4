"""``reconciler cancel``."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import click

from reconciler.cli.clone_planning import clock
from reconciler.cli.ended_now import end_now
from reconciler.cli.manifest_commit import EditedManifest
from reconciler.cli.options import config_option, dry_run_option, repo_option
from reconciler.cli.select import kind_option, name_argument, namespace_option
from reconciler.manifests import CANCEL_ANNOTATION, annotate, set_suspend
from reconciler.planner import ObjectStatus, Phase, TaskPhase
from reconciler.types import ObjectRef, TaskKind


@click.command()
@name_argument(required=True)
@click.option(
    "--now",
    is_flag=True,
    help="End the run on its engine, without a commit; with --dry-run, list what would be ended.",
)
@click.option(
    "--reason",
    metavar="TEXT",
    help="Why; it becomes part of the commit's message, with --now of the status.",
)
@dry_run_option
@namespace_option
@kind_option
@repo_option
@config_option
def cancel(
    name: str,
    now: bool,
    reason: str | None,
    dry_run: bool,
    namespace: str | None,
    kind: str | None,
    folder: Path,
    config_file: Path,
) -> None:
    """End the load, training or evaluation of NAME, and start nothing new.

    NAME may also be a key, or the first 6 or more digits of one. The commit sets
    `spec.suspend: true` and the annotation substratus.ai/cancel to the present time: with both,
    the daemon ends what was created up to then. A build goes on, as other objects may share it.

    Afterwards the object is Suspended. Its last artifact stays, and what the command has left in
    its directory too; `reconciler resume NAME` goes on from there. The history lists the run as
    Interrupted, with the reason Cancelled and the GPU seconds that it took.

    With --now nothing is committed: the run is ended at once, whether or not a daemon runs, on this
    machine or, with your kubeconfig, in the cluster. Its object is Failed then, with the reason
    EndedByUser, and the task starts again only by `reconciler retry NAME` or a change of its params
    or settings.
    """
    if now:
        end_now(
            name,
            reason or "",
            namespace=namespace,
            kind=kind,
            dry_run=dry_run,
            config_file=config_file,
        )
        return
    edited = EditedManifest.find(
        name, namespace=namespace, kind=kind, folder=folder, config_file=config_file
    )
    _check_something_runs(edited)
    file, ref = edited.manifest.file, edited.ref
    until = _until(edited.record, clock())
    changed = set_suspend(edited.text, file=file, ref=ref, suspend=True)
    changed = annotate(changed, file=file, ref=ref, name=CANCEL_ANNOTATION, value=until)
    subject = f"Cancel {ref}" + (f"\n\n{reason}" if reason else "")
    what = f"spec.suspend: true and {CANCEL_ANNOTATION}: {until}"
    edited.apply(changed, subject, what, effect="ends what runs of it", dry_run=dry_run)


def _until(record: ObjectStatus | None, now: datetime) -> str:
    """Return the time up to which runs are ended.

    It is not before the start of one that runs: the daemon's clock may be ahead of this one.
    """
    started = (
        task.started + timedelta(seconds=1)
        for task in (record.tasks if record is not None else ())
        if task.started is not None and task.phase is TaskPhase.RUNNING
    )
    return f"{max([now, *started]):%Y-%m-%dT%H:%M:%SZ}"


#: Phases of a task that may have a run, or get one by itself.
_LIVE = (TaskPhase.RUNNING, TaskPhase.PENDING, TaskPhase.WAITING, TaskPhase.HELD)


def _check_something_runs(edited: EditedManifest) -> None:
    """Raise ClickException if nothing but builds is recorded as running.

    A newer commit than that of the status may have started one since: then it is only noted.
    """
    record, ref = edited.record, edited.ref
    if record is None:
        return
    tasks = [task for task in record.tasks if task.task is not TaskKind.BUILD]
    if any(task.phase in _LIVE for task in tasks):
        return
    if not edited.is_synced:
        click.echo(f"Note: nothing of {ref} runs, by the last recorded sync.", err=True)
        return
    raise click.ClickException(
        f"nothing of {ref} runs: it is {record.phase}. {_instead(ref, record)}"
    )


def _instead(ref: ObjectRef, record: ObjectStatus) -> str:
    """Return what does something for an object of which nothing runs."""
    if record.phase is Phase.SUSPENDED:
        return f"It starts nothing until `reconciler resume {ref.name}`"
    return f"`reconciler suspend {ref.name}` keeps it from starting anything new"
