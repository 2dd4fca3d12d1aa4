"""Variants of sweeps in words, for plans and statuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reconciler.manifests import Combination
from reconciler.planner import ObjectStatus, VariantStatus
from reconciler.review.figures import cut, format_value

if TYPE_CHECKING:  # a status has none of these
    from reconciler.review.actions import Action
    from reconciler.review.changes import Change

_LONGEST = 100
#: Combinations that a line lists, and trainings of one object that a plan does.
_SHOWN_COMBINATIONS = 8
SHOWN_TRAININGS = 20


def variant_text(params: Combination) -> str:
    """Format the params of a variant: ``lr=0.1, depth=2``."""
    return cut(", ".join(f"{name}={format_value(v)}" for name, v in params.items()), _LONGEST)


def with_variant(action: Action, text: str) -> str:
    """Put the params of an action's variant before a text.

    Of an evaluation it is the current artifact, where that is tested beside the next one.
    """
    if action.compared is not None:
        return f"(current artifact {action.compared[:12]}) {text}"
    return f"({variant_text(action.variant)}) {text}" if action.variant is not None else text


def combination_lines(change: Change) -> Iterator[str]:
    """Say which combinations of a matrix are new, and which are dropped."""
    for title, found, end in (
        ("new combinations", change.combinations.added, ""),
        ("dropped combinations", change.combinations.dropped, "; what they made stays"),
    ):
        if found:
            shown = [f"({variant_text(params)})" for params in found[:_SHOWN_COMBINATIONS]]
            more = len(found) - len(shown)
            yield f"{title}: {', '.join(shown)}{f' and {more} more' if more else ''}{end}"


def shown_actions(actions: Sequence[Action]) -> tuple[Sequence[Action], int]:
    """Return the actions without most of very many variants', and their number."""
    of_variants = [action for action in actions if action.variant is not None]
    left_out = set(map(id, of_variants[SHOWN_TRAININGS:]))
    return [action for action in actions if id(action) not in left_out], len(left_out)


def is_best(record: ObjectStatus, variant: VariantStatus) -> bool:
    """Return whether a variant's artifact is its object's."""
    return record.artifact is not None and record.artifact.key == variant.key


#: Columns of params and of metrics that a table of variants has.
_MOST_PARAMS, _MOST_METRICS = 12, 8


def variant_columns(record: ObjectStatus) -> tuple[list[str], list[str]]:
    """Return the names of the params and metrics of variants."""
    params = dict.fromkeys(name for variant in record.variants for name in variant.params)
    metrics = dict.fromkeys(name for variant in record.variants for name in variant.metrics)
    return list(params)[:_MOST_PARAMS], list(metrics)[:_MOST_METRICS]
