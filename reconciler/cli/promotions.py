"""Artifacts that promotions have served, with times and commits."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.cli.table import Column, Listing
from reconciler.git import GitError, Repository
from reconciler.planner import ObjectStatus
from reconciler.review import printable
from reconciler.types import Commit


def served_table(
    records: Iterable[ObjectStatus],
    repository: Repository | None,
    *,
    compact: bool = False,
) -> Listing | None:
    """Render a row for each served artifact, the newest first.

    None without any.

    BY is the commit by which it came to serve that: the last change of its own manifest, or of that
    of the object that it follows.
    """
    promotions = [record for record in sorted(records, key=lambda r: r.ref) if record.served]
    if not promotions:
        return None
    columns = ("PROMOTION", "SINCE", "UNTIL", "KEY")
    table = Listing(*map(Column, columns), Column("BY", below=True), compact=compact)
    for record in promotions:
        ends = [f"{served.at:%Y-%m-%d %H:%M}" for served in record.served[1:]]
        rows = list(zip(record.served, [*ends, "now"], strict=True))
        for served, until in reversed(rows):
            table.add(
                printable(record.ref.name),
                f"{served.at:%Y-%m-%d %H:%M}",
                until,
                served.key[:12],
                printable(_told(served.commit, repository)),
            )
    return table


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
