"""Text of what a collection finds, for ``artifacts`` and ``plan``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from reconciler.cli.recorded_state import StateReader
from reconciler.config import Setup
from reconciler.git import GitError
from reconciler.planner import TaskPhase
from reconciler.review import counted, printable
from reconciler.status import SIGN, CollectionReport, shown_doubt, shown_entry, shown_step


@dataclass(frozen=True, slots=True)
class CollectedArtifacts:
    """Artifacts that the status branch records as hidden, and as removed.

    Times are whole seconds there, so what a run did is a difference of two of these.
    """

    hidden: frozenset[tuple[str, datetime]]
    removed: frozenset[tuple[str, datetime]]

    @classmethod
    def read(cls, setup: Setup) -> CollectedArtifacts | None:
        """Read the status branch; None if it is unreadable, or nothing goes."""
        if not setup.config.retention.enabled:
            return None
        try:
            state = StateReader(setup, Path()).read()
        except GitError:
            return None
        records = (*state.records.values(), *state.removed.values())
        made = TaskPhase.SUCCEEDED
        entries = [e for record in records for e in record.history if e.phase is made]
        return cls(
            hidden=frozenset((e.key, e.hidden) for e in entries if e.hidden and not e.collected),
            removed=frozenset((e.key, e.collected) for e in entries if e.collected),
        )


def collected_line(before: CollectedArtifacts | None, setup: Setup) -> str | None:
    """Count what was hidden and removed since ``before``; None for nothing."""
    after = CollectedArtifacts.read(setup) if before is not None else None
    if before is None or after is None:
        return None
    hidden, removed = len(after.hidden - before.hidden), len(after.removed - before.removed)
    parts = [f"{counted(hidden, 'artifact')} hidden"] if hidden else []
    parts += [f"{counted(removed, 'artifact')} removed"] if removed else []
    if not parts:
        return None
    which = "; `reconciler artifacts --collect` lists those that are hidden" if hidden else ""
    return f"\nCollected: {', '.join(parts)}{which}."


def collection_lines(
    report: CollectionReport, now: datetime, most: int | None = None
) -> Iterator[str]:
    """Yield a line per unreferenced artifact, and per reason against it."""
    going = report.collected
    for entry in going[:most]:
        age = f"{max(0, (now - entry.made).days)} d old"
        what, size = shown_entry(entry)
        step = shown_step(entry, enabled=report.enabled)
        sign = click.style(SIGN, fg="red")
        yield f"  {sign} {printable(what)}  {size}, {age}: {step}"
    if most is not None and going[most:]:
        yield f"  and {counted(len(going[most:]), 'more artifact')}"
    for reason in report.withheld:
        release = f" (released by the line {reason.hold} in .reconciler/release)"
        text = reason.message + release if reason.hold else shown_doubt(reason)
        yield f"  {click.style('!', fg='magenta')} {printable(text)}"
