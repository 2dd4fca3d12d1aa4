"""The review of a plan, as text for terminals and pull requests.

Pure, and apart from the command line, so that whatever comments on pull requests says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.review.changes import explain
    from reconciler.review.commit_status import CommitState, CommitStatus, make_status, status_of
    from reconciler.review.comparison import (
        COMPARISON,
        COMPARISON_ROW,
        COST_TITLE,
        ArtifactComparison,
        ComparedArtifact,
        CompareOrder,
        code_text,
        compare_artifacts,
        comparison_columns,
        comparison_rows,
        comparison_summary,
        sortable_columns,
    )
    from reconciler.review.document import plan_document
    from reconciler.review.error_lines import error_line
    from reconciler.review.escape import code, plain, printable, prose, table_row
    from reconciler.review.figures import (
        cut,
        format_number,
        format_value,
        metric_texts,
        run_seconds,
        task_seconds,
    )
    from reconciler.review.markdown import render_markdown
    from reconciler.review.progress import (
        Latest,
        ObjectProgress,
        no_reports,
        object_progress,
        progress_bar,
        progress_of,
        progress_text,
        task_progress,
    )
    from reconciler.review.quantities import counted, seconds, shown_size
    from reconciler.review.report import Basis, Review, review
    from reconciler.review.sentences import withheld
    from reconciler.review.shown_status import (
        shown_conditions,
        shown_message,
        shown_metric,
        sweep_text,
    )
    from reconciler.review.text import render_text
    from reconciler.review.updates import (
        Update,
        by_urgency,
        pinned_promotions,
        pinned_sources,
        promotion_updates,
        source_updates,
    )
    from reconciler.review.variants import is_best, variant_columns, variant_text
    from reconciler.review.why import failure_remedy, log_command, why_lines

_MODULES = {
    "ComparedArtifact": "comparison",
    "sortable_columns": "comparison",
    "COMPARISON": "comparison",
    "COMPARISON_ROW": "comparison",
    "COST_TITLE": "comparison",
    "ArtifactComparison": "comparison",
    "CompareOrder": "comparison",
    "code_text": "comparison",
    "compare_artifacts": "comparison",
    "comparison_columns": "comparison",
    "comparison_rows": "comparison",
    "comparison_summary": "comparison",
    "Basis": "report",
    "CommitState": "commit_status",
    "CommitStatus": "commit_status",
    "Review": "report",
    "Update": "updates",
    "code": "escape",
    "counted": "quantities",
    "cut": "figures",
    "error_line": "error_lines",
    "explain": "changes",
    "failure_remedy": "why",
    "format_number": "figures",
    "format_value": "figures",
    "log_command": "why",
    "make_status": "commit_status",
    "metric_texts": "figures",
    "by_urgency": "updates",
    "pinned_promotions": "updates",
    "pinned_sources": "updates",
    "plain": "escape",
    "plan_document": "document",
    "printable": "escape",
    "promotion_updates": "updates",
    "Latest": "progress",
    "ObjectProgress": "progress",
    "no_reports": "progress",
    "object_progress": "progress",
    "progress_bar": "progress",
    "progress_of": "progress",
    "progress_text": "progress",
    "task_progress": "progress",
    "prose": "escape",
    "table_row": "escape",
    "render_markdown": "markdown",
    "render_text": "text",
    "review": "report",
    "seconds": "quantities",
    "shown_conditions": "shown_status",
    "shown_message": "shown_status",
    "shown_metric": "shown_status",
    "shown_size": "quantities",
    "source_updates": "updates",
    "status_of": "commit_status",
    "run_seconds": "figures",
    "task_seconds": "figures",
    "is_best": "variants",
    "sweep_text": "shown_status",
    "variant_columns": "variants",
    "variant_text": "variants",
    "why_lines": "why",
    "withheld": "sentences",
}
__getattr__ = lazy_exports(__name__, _MODULES)

__all__ = [
    "COMPARISON",
    "COMPARISON_ROW",
    "COST_TITLE",
    "ArtifactComparison",
    "Basis",
    "CommitState",
    "CommitStatus",
    "CompareOrder",
    "ComparedArtifact",
    "Latest",
    "ObjectProgress",
    "Review",
    "Update",
    "by_urgency",
    "code",
    "code_text",
    "compare_artifacts",
    "comparison_columns",
    "comparison_rows",
    "comparison_summary",
    "counted",
    "cut",
    "error_line",
    "explain",
    "failure_remedy",
    "format_number",
    "format_value",
    "is_best",
    "log_command",
    "make_status",
    "metric_texts",
    "no_reports",
    "object_progress",
    "pinned_promotions",
    "pinned_sources",
    "plain",
    "plan_document",
    "printable",
    "progress_bar",
    "progress_of",
    "progress_text",
    "promotion_updates",
    "prose",
    "render_markdown",
    "render_text",
    "review",
    "run_seconds",
    "seconds",
    "shown_conditions",
    "shown_message",
    "shown_metric",
    "shown_size",
    "sortable_columns",
    "source_updates",
    "status_of",
    "sweep_text",
    "table_row",
    "task_progress",
    "task_seconds",
    "variant_columns",
    "variant_text",
    "why_lines",
    "withheld",
]
