"""``reconciler why``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from reconciler.cli.clone_planning import Planning
from reconciler.cli.options import clone, config_option, load_if_there, repo_option
from reconciler.cli.select import kind_option, name_argument, namespace_option, one
from reconciler.git import GitError
from reconciler.planner import ObjectStatus, Plan, TaskPhase
from reconciler.review import conditions_told, explain, printable, standing
from reconciler.types import ObjectRef


@click.command()
@name_argument(required=True)
@click.option("--head", default="HEAD", show_default=True, metavar="REV", help="The commit meant.")
@namespace_option
@kind_option
@repo_option
@config_option
def why(
    name: str,
    head: str,
    namespace: str | None,
    kind: str | None,
    folder: Path,
    config_file: Path,
) -> None:
    """Explain what each task waits for, or why it runs.

    It is worked out as `plan` does, from the configured repository if it is on this disk, else
    from a clone with the status branch in it.
    """
    setup = load_if_there(config_file)
    planning = Planning(setup, clone(folder, setup))
    plan = planning.plan(planning.read(head))
    known = {*plan.situation.desired, *plan.situation.records, *plan.situation.invalid}
    ref = one(known, name=name, namespace=namespace, kind=kind)
    record = planning.state.records.get(ref)
    click.echo(click.style(str(ref), bold=True) + _phase(record))
    for depth, line in standing(plan, ref):
        click.echo(f"{'  ' * (depth + 1)}{printable(line)}")
    for condition, text in (conditions_told(record) if record else {}).items():
        click.echo(f"  {condition}: {printable(text)}")
    for line in _differs(planning, plan, record):
        click.echo(f"  {printable(line)}")


def _phase(record: ObjectStatus | None) -> str:
    """Render the phase that the last sync recorded."""
    return f" is {record.phase} as of the last sync" if record is not None else " is not synced yet"


def _differs(planning: Planning, plan: Plan, record: ObjectStatus | None) -> Iterator[str]:
    """Yield the differences between the desired and the last artifact."""
    if record is None or record.artifact is None:
        return
    item = plan.situation.desired.get(record.ref)
    if item is None or item.key == record.artifact.key:
        return
    entries = [e for e in record.history if e.key == record.artifact.key]
    made = next((e for e in reversed(entries) if e.phase is TaskPhase.SUCCEEDED), None)
    when = f" on {made.finished:%Y-%m-%d}" if made is not None and made.finished else ""
    commit = made.commit if made is not None else None
    where = f" from commit {commit[:12]}" if commit is not None else ""
    yield f"Its last artifact {record.artifact.key[:12]} was made{when}{where}."
    if commit is not None:
        yield _since(planning, plan, commit, record.ref)


def _since(planning: Planning, plan: Plan, commit: str, ref: ObjectRef) -> str:
    """Explain an object's changes between a commit and the planned one."""
    try:
        then = planning.plan(planning.read(commit)).situation.desired
    except GitError:
        return "That commit is not in this clone, so what has changed since is not known."
    found = explain(then, plan.situation.desired).get(ref)
    return (
        f"Since then: {found}." if found is not None else "What it is made from has changed since."
    )
