"""The README.md of the status branch, as a forge shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.planner import URGENCY, ObjectStatus, Phases, status_path
from reconciler.review import metric_texts, object_progress, shown_message, table_row
from reconciler.status.encoding import Sync
from reconciler.status.shards import Shards
from reconciler.types import ObjectRef

#: How many objects the page lists; those that need attention come first.
LISTED = 200
_SHOWN_METRICS = 3
_SHOWN_MESSAGE = 120


class Readme:
    """Renders the README of a branch with these shards.

    A row is rendered once for each record, as a push changes few of them.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._rows: dict[tuple[ObjectRef, str], tuple[ObjectStatus, str]] = {}

    def render(
        self, sync: Sync, records: Mapping[ObjectRef, ObjectStatus], phases: Phases
    ) -> bytes:
        """Render counts by phase, errors, and the most urgent objects."""
        count = len(phases)
        counts = ", ".join(f"{number} {phase}" for phase in URGENCY if (number := phases.of(phase)))
        lines = [
            f"# Status of cluster {_escape(sync.cluster)}",
            "",
            f"{count} objects: {counts}." if count else "No objects.",
            "",
            f"Manifests: `{sync.path or '/'}` at commit `{sync.head[:12]}`.",
            *_refused(sync),
            f"Last sync: {sync.observed:%Y-%m-%d %H:%M} UTC.",
            "Written by the reconciler at least once an hour; do not edit.",
            "",
        ]
        if sync.errors:
            lines += ["## Errors", ""]
            lines += [f"- {_escape(str(problem))}" for problem in sync.errors[:LISTED]]
            more = len(sync.errors[LISTED:]) + sync.errors_omitted
            lines += [f"- and {more} more"] if more else []
            lines += [""]
        if count:
            lines += [
                "## Objects",
                "",
                "| object | phase | metrics | message |",
                "|---|---|---|---|",
            ]
            lines += self._listed(records[ref] for ref in phases.first(LISTED))
            if count > LISTED:
                lines += ["", f"and {count - LISTED} more."]
        return ("\n".join(lines).rstrip() + "\n").encode()

    def _listed(self, records: Iterable[ObjectStatus]) -> list[str]:
        earlier, self._rows = self._rows, {}
        for record in records:
            file = self._shards.place(status_path(record.ref))
            known = earlier.get((record.ref, file))
            row = (
                known if known is not None and known[0] is record else (record, _row(record, file))
            )
            self._rows[record.ref, file] = row
        return [row for _, row in self._rows.values()]


def _refused(sync: Sync) -> list[str]:
    """Say that the branch's head is not in force."""
    return [f"**Not verified:** {_escape(sync.refused.message)}.", ""] if sync.refused else []


def _row(record: ObjectStatus, file: str) -> str:
    ref = record.ref
    metrics = record.artifact.metrics if record.artifact else {}
    shown = ", ".join(metric_texts(metrics, most=_SHOWN_METRICS))
    text = _cut(shown_message(record))
    progress = object_progress(record)
    phase = record.phase if progress is None else f"{record.phase} {progress.text}"
    name = f"[{ref.kind} {ref.namespace}/{ref.name}]({file})"
    return table_row((name, phase, _escape(shown), _escape(text)))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_MESSAGE else f"{text[: _SHOWN_MESSAGE - 1]}…"


def _escape(text: str) -> str:
    """Escape text against Markdown and HTML."""
    for char in "\\`*_[]<>#":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
