"""The review of a plan, as text for terminals and pull requests.

Pure, and apart from the command line, so that whatever comments on pull requests says the same.
"""

from __future__ import annotations

from reconciler.review.actions import (
    Action,
)
from reconciler.review.changes import (
    explain,
)
from reconciler.review.commit_status import (
    CommitState,
    CommitStatus,
    make_status,
    status_of,
)
from reconciler.review.escape import (
    code,
    plain,
    printable,
)
from reconciler.review.markdown import (
    render_markdown,
)
from reconciler.review.report import (
    Basis,
    ObjectReview,
    Review,
    review,
)
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
    symbol,
    task_seconds,
    verb,
    withheld,
)
from reconciler.review.why import (
    standing,
)

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
    "errors_told",
    "explain",
    "format_number",
    "format_value",
    "make_status",
    "metric_texts",
    "plain",
    "printable",
    "refusals",
    "render_markdown",
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
    "symbol",
    "task_seconds",
    "verb",
    "withheld",
]
