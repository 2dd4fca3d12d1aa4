"""Artifacts that promotions have served, with times and commits."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.cli.table import Column, Listing
from reconciler.git import GitError, Repository
from reconciler.planner import ObjectStatus, ServedPromotion
from reconciler.review import printable
from reconciler.types import Commit, TaskKey


def served_table(
    records: Iterable[ObjectStatus],
    among: Iterable[ObjectStatus],
    repository: Repository | None,
    *,
    compact: bool = False,
) -> Listing | None:
    """Render a row for each served artifact, the newest first.

    None without any.

    A promotion that names a key serves it by the commit of its own manifest. One that follows
    another object serves by the commit that had the artifact made.
    """
    promotions = [record for record in sorted(records, key=lambda r: r.ref) if record.served]
    if not promotions:
        return None
    made = {
        entry.key: entry.commit
        for record in among
        for entry in record.history
        if entry.artifact is not None
    }
    columns = ("PROMOTION", "SINCE", "UNTIL", "KEY")
    table = Listing(*map(Column, columns), Column("BY", below=True), compact=compact)
    for record in promotions:
        ends = [f"{served.at:%Y-%m-%d %H:%M}" for served in record.served[1:]]
        rows = list(zip(record.served, [*ends, "now"], strict=True))
        for served, until in reversed(rows):
            by = _commit(served, made)
            table.add(
                printable(record.ref.name),
                f"{served.at:%Y-%m-%d %H:%M}",
                until,
                served.key[:12],
                printable(_told(by, repository)),
            )
    return table


def _commit(served: ServedPromotion, made: dict[TaskKey, Commit | None]) -> Commit | None:
    return served.commit if served.pinned else made.get(served.key) or served.commit


def _told(commit: Commit | None, repository: Repository | None) -> str:
    """Format a commit, with author and subject if the clone has it."""
    if commit is None:
        return ""
    try:
        if repository is not None and repository.has(commit):
            return f"{commit[:8]} {repository.author(commit)}: {repository.subject(commit)}"
    except GitError:  # a damaged clone
        return commit[:8]
    return commit[:8]
