"""``reconciler accept``."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.manifest_commit import EditedManifest
from reconciler.cli.options import config_option, dry_run_option, repo_option
from reconciler.cli.select import kind_option, name_argument, namespace_option, only_key
from reconciler.manifests import ACCEPT_ANNOTATION, annotate
from reconciler.planner import CandidateStatus, ObjectStatus, Phase, Verdict
from reconciler.types import ObjectRef, TaskKey

#: Digits of a key in the annotation, and dependents that are named.
_DIGITS, _SHOWN = 12, 5


@click.command()
@name_argument(required=True)
@click.argument("key", required=False, metavar="[KEY]")
@click.option("--reason", metavar="TEXT", help="Why; it becomes part of the commit's message.")
@dry_run_option
@namespace_option
@kind_option
@repo_option
@config_option
def accept(
    name: str,
    key: str | None,
    reason: str | None,
    dry_run: bool,
    namespace: str | None,
    kind: str | None,
    folder: Path,
    config_file: Path,
) -> None:
    """Accept the artifact of NAME that its gate rejected.

    NAME may also be a key, or the first 6 or more digits of one. KEY, or its first 6 or more
    digits, makes sure which artifact is meant: another than the rejected one is refused. The commit
    sets the annotation substratus.ai/accept to the first 12 digits of the key. It accepts that
    artifact alone; `evaluation.require` judges later ones as before.

    The commit is on the branch that is checked out, and takes effect once it is on the branch that
    the daemon follows. One that git refuses leaves everything as it was.
    """
    edited = EditedManifest.find(
        name, namespace=namespace, kind=kind, folder=folder, config_file=config_file
    )
    candidate = _rejected(edited, key if key is not None or name == edited.ref.name else name)
    ref, value = edited.ref, candidate.key[:_DIGITS]
    annotations = edited.manifest.document.metadata.annotations
    if candidate.key.startswith(annotations.get(ACCEPT_ANNOTATION) or "-"):
        click.echo(f"{ACCEPT_ANNOTATION} accepts {value} already; a sync takes it up.")
        return
    changed = annotate(
        edited.text, file=edited.manifest.file, ref=ref, name=ACCEPT_ANNOTATION, value=value
    )
    subject = f"Accept {value} of {ref}" + (f"\n\n{reason}" if reason else "")
    edited.apply(
        changed,
        subject,
        f"{ACCEPT_ANNOTATION}: {value}",
        effect=f"becomes the artifact of {ref}",
        dry_run=dry_run,
    )
    if not dry_run:
        click.echo(_consequences(edited, candidate))


def _rejected(edited: EditedManifest, key: str | None) -> CandidateStatus:
    """Return the rejected artifact that is meant. Raises ClickException for any other."""
    record, ref = edited.record, edited.ref
    if record is None or record.never_ran:
        raise click.ClickException(f"{ref} was not synced yet, so no artifact of it was rejected")
    candidate = record.candidate
    if candidate is None or record.phase is not Phase.REJECTED:
        raise click.ClickException(_not_rejected(record, ref, key))
    meant = only_key(key, [candidate.key]) if key is not None else candidate.key
    if meant is None:
        raise click.ClickException(
            f"{(key or '')[:40]} is not the rejected artifact of {ref}, which is "
            f"{candidate.key[:_DIGITS]}{_known(record, key)}"
        )
    return candidate


def _not_rejected(record: ObjectStatus, ref: ObjectRef, key: str | None) -> str:
    """Return why there is nothing to accept."""
    if record.phase is Phase.HELD:
        return (
            f"{ref} is Held, not Rejected: {record.message}. A hold is released by a line in "
            ".reconciler/release"
        )
    rejected = [e.key for e in record.history if e.verdict is Verdict.REJECTED]
    former = _matching(rejected, key)
    if former is not None:
        return (
            f"{ref} is {record.phase}, and its manifest does not ask for {former[:_DIGITS]} now, "
            "which was rejected: commit the manifest that makes it first"
        )
    return f"nothing of {ref} is rejected: it is {record.phase}"


def _known(record: ObjectStatus, key: str | None) -> str:
    """Return the verdict on another artifact, as the end of a sentence."""
    for entry in record.history:
        if _matching([entry.key], key) is not None and entry.verdict is not None:
            return f"; that one was {entry.verdict.value.lower()} before"
    return ""


def _matching(keys: list[TaskKey], key: str | None) -> TaskKey | None:
    return only_key(key, keys) if key is not None else None


def _consequences(edited: EditedManifest, candidate: CandidateStatus) -> str:
    """Return what the sync of the commit does."""
    ref, failed = edited.ref, "; ".join(candidate.failed)
    waiting = [
        other
        for other, manifest in sorted(edited.objects.items())
        for target, reference, _ in manifest.references
        if target == ref and reference.key in (None, candidate.key)
    ]
    lines = [f"It is accepted though it failed: {failed}."] if failed else []
    if waiting:
        names = ", ".join(str(each) for each in waiting[:_SHOWN])
        more = f" and {len(waiting) - _SHOWN} more" if len(waiting) > _SHOWN else ""
        lines.append(f"What is made from it then follows: {names}{more}.")
    else:
        lines.append("Nothing refers to it in this repository, so nothing else runs.")
    return "\n".join(lines)
