"""The review of a plan, as text for terminals and pull requests.

Pure, and apart from the command line, so that whatever comments on pull requests says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.review.actions import Action
    from reconciler.review.changes import explain
    from reconciler.review.commit_status import CommitState, CommitStatus, make_status, status_of
    from reconciler.review.escape import code, plain, printable, prose
    from reconciler.review.markdown import render_markdown
    from reconciler.review.report import Basis, ObjectReview, Review, review
    from reconciler.review.sentences import (
        conditions_told,
        counted,
        cut,
        errors_told,
        format_number,
        format_value,
        metric_texts,
        refusals,
        rest,
        seconds,
        shown_gpus,
        shown_message,
        shown_metric,
        status_age,
        summary,
        swap_told,
        symbol,
        task_seconds,
        verb,
        withheld,
    )
    from reconciler.review.text import error_line, render_text
    from reconciler.review.why import standing

_MODULES = {
    "Action": "actions",
    "Basis": "report",
    "CommitState": "commit_status",
    "CommitStatus": "commit_status",
    "ObjectReview": "report",
    "Review": "report",
    "code": "escape",
    "conditions_told": "sentences",
    "counted": "sentences",
    "cut": "sentences",
    "error_line": "text",
    "errors_told": "sentences",
    "explain": "changes",
    "format_number": "sentences",
    "format_value": "sentences",
    "make_status": "commit_status",
    "metric_texts": "sentences",
    "plain": "escape",
    "printable": "escape",
    "prose": "escape",
    "refusals": "sentences",
    "render_markdown": "markdown",
    "render_text": "text",
    "rest": "sentences",
    "review": "report",
    "seconds": "sentences",
    "shown_gpus": "sentences",
    "shown_message": "sentences",
    "shown_metric": "sentences",
    "standing": "why",
    "status_age": "sentences",
    "status_of": "commit_status",
    "summary": "sentences",
    "swap_told": "sentences",
    "symbol": "sentences",
    "task_seconds": "sentences",
    "verb": "sentences",
    "withheld": "sentences",
}
__getattr__ = lazy_exports(__name__, _MODULES)

__all__ = [
    "Action",
    "Basis",
    "CommitState",
    "CommitStatus",
    "ObjectReview",
    "Review",
    "code",
    "conditions_told",
    "counted",
    "cut",
    "error_line",
    "errors_told",
    "explain",
    "format_number",
    "format_value",
    "make_status",
    "metric_texts",
    "plain",
    "printable",
    "prose",
    "refusals",
    "render_markdown",
    "render_text",
    "rest",
    "review",
    "seconds",
    "shown_gpus",
    "shown_message",
    "shown_metric",
    "standing",
    "status_age",
    "status_of",
    "summary",
    "swap_told",
    "symbol",
    "task_seconds",
    "verb",
    "withheld",
]
