"""A collection's report in words, for commands and comments."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from reconciler.engine import CollectedKind
from reconciler.review import code, counted, prose, shown_size
from reconciler.status.collection_report import (
    CollectionEntry,
    CollectionReport,
    CollectionStep,
    WithheldReason,
)
from reconciler.types import ObjectRef

#: A multiplication sign.
SIGN = "\N{MULTIPLICATION SIGN}"
#: Lines of artifacts in a plan.
MOST_LINES = 20
#: Characters of a reason, and reasons.
_LONGEST_REASON, _MOST_REASONS = 300, 3


def shown_step(entry: CollectionEntry, *, enabled: bool) -> str:
    """Return what becomes of an artifact; empty for one that stays."""
    match entry.step:
        case CollectionStep.HIDE:
            return "hidden next" if enabled else "unused"
        case CollectionStep.HOLD:
            return "held"
        case CollectionStep.WITHHOLD:
            return "withheld"
        case CollectionStep.REMOVE:
            if entry.due is not None:
                return f"removed from {entry.due:%Y-%m-%d %H:%M}"
            return "removed next" if enabled else "unused"
        case CollectionStep.RESTORE:
            return "restored next"
        case _:
            return ""


def shown_entry(entry: CollectionEntry) -> tuple[str, str]:
    """Return an artifact's name, and its size where it is known."""
    what = f"{entry.kind} {entry.namespace}/{entry.name} {entry.key[:12]}"
    match entry.what:
        case CollectedKind.IMAGE:
            return f"{what} (image)", shown_size(entry.size) if entry.size else "of unknown size"
        case CollectedKind.ATTEMPT:
            return f"{what} (failed attempts)", shown_size(entry.size)
        case CollectedKind.TRY:
            return f"{what} (local try)", shown_size(entry.size)
        case _:
            return what, shown_size(entry.size)


def shown_doubt(reason: WithheldReason) -> str:
    """Return a reason that no release ends, with its effect."""
    return f"nothing goes, as {reason.message}" if reason.keeps_all else reason.message


def collection_summary(report: CollectionReport) -> str:
    """Return how much is unused, and how much a collection frees."""
    going = report.collected
    size = shown_size(sum(entry.size for entry in going))
    text = f"{counted(len(going), 'artifact')} that nothing refers to, {size}"
    if not report.enabled:
        return f"{text}; nothing is collected, as retention.enabled is false"
    hide = sum(e.size for e in going if e.step is CollectionStep.HIDE)
    remove = sum(e.size for e in going if e.step is CollectionStep.REMOVE and e.hidden)
    rest = sum(e.size for e in going if e.step is CollectionStep.REMOVE and not e.hidden)
    parts = [f"the next collection hides {shown_size(hide)}"] if hide else []
    parts += [f"{shown_size(remove)} is hidden, and freed after the grace time"] if remove else []
    parts += [f"the next collection removes {shown_size(rest)}"] if rest else []
    return "; ".join([text, *parts])


def of_objects(report: CollectionReport, refs: Collection[ObjectRef]) -> CollectionReport:
    """Return the part of a report that is about some objects."""
    found = (entry for entry in report.artifacts if entry.ref in refs)
    return replace(report, artifacts=tuple(found))


def collection_markdown(report: CollectionReport | None, refs: Collection[ObjectRef]) -> str:
    """Render the unreferenced artifacts of some objects as Markdown.

    Empty where nothing is unreferenced. Without ages, with which a comment would change by the day.
    """
    if report is None or not report.collected:
        return ""
    going = of_objects(report, refs).collected
    lines = [
        f"- {SIGN} {code(what)} {size}: {shown_step(e, enabled=report.enabled)}"
        for e, (what, size) in zip(going, map(shown_entry, going[:MOST_LINES]), strict=False)
    ]
    if going[MOST_LINES:]:
        lines.append(f"- and {counted(len(going[MOST_LINES:]), 'more artifact')}")
    if going:
        lines += [
            f"- :warning: {prose(each.message[:_LONGEST_REASON])}"
            for each in report.withheld[:_MOST_REASONS]
        ]
    listed = "\n".join(lines)
    end = f"<sub>{collection_summary(report)}.</sub>"
    title = "**Artifacts, by the last collection**"
    return f"{title}\n\n{listed}\n\n{end}" if lines else end
