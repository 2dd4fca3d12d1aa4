"""A plan for people: text for a terminal, Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterable

import click

from reconciler.planner.plan import ActionKind
from reconciler.planner.review import Action, Review

_SYMBOL = {
    ActionKind.CREATE: ("+", "green"),
    ActionKind.CANCEL: ("-", "red"),
    ActionKind.DELETE: ("-", "red"),
    ActionKind.KEEP: ("=", None),
    ActionKind.WAIT: ("…", "yellow"),
    ActionKind.HOLD: ("!", "yellow"),
    ActionKind.REFUSE: ("!", "red"),
}
#: A comment on a forge may be no longer than this many characters, with some to spare.
LONGEST_COMMENT = 60_000


def text(review: Review) -> str:
    """One line an action; what is already there is counted only."""
    lines = [
        f"{click.style(str(problem.location), bold=True)}: {click.style('error', fg='red')}: "
        f"{problem.field + ': ' if problem.field else ''}{problem.message}"
        for problem in review.errors
    ]
    shown = [a for a in review.actions if a.action is not ActionKind.KEEP]
    if lines and shown:
        lines.append("")
    width = max((len(_title(action)) for action in shown), default=0)
    for action in shown:
        symbol, colour = _SYMBOL[action.action]
        gpus = f" ({action.gpus} GPU)" if action.gpus else ""
        head = click.style(f"{symbol} {action.action:<6} {_title(action):<{width}}", fg=colour)
        lines.append(f"  {head}  {action.reason}{gpus}")
    if shown:
        lines.append("")
    lines.append(_summary(review))
    lines += [
        f"Held: {hold.reason}.\n  To release it, add the line {hold.id} to .reconciler/release."
        for hold in review.holds
    ]
    return "\n".join(lines)


def markdown(review: Review) -> str:
    """A comment: the summary, errors and holds in the open, the actions in a fold."""
    lines = [f"### Plan for `{review.head[:12]}`", "", _summary(review), ""]
    lines += [
        f"- :x: `{problem.location}` {_escape(problem.field)} {_escape(problem.message)}"
        for problem in review.errors
    ]
    for hold in review.holds:
        lines.append(f"- :warning: Held: {_escape(hold.reason)}. To release it, add the line")
        lines.append(f"  `{hold.id}` to `.reconciler/release`.")
    shown = [a for a in review.actions if a.action is not ActionKind.KEEP]
    if shown:
        lines += ["", "<details><summary>Actions</summary>", "", *_rows(shown), "", "</details>"]
    return "\n".join(lines)


def _rows(actions: Iterable[Action]) -> list[str]:
    rows = ["| | task | object | reason | GPUs |", "|---|---|---|---|---|"]
    length = 0
    actions = list(actions)
    for number, action in enumerate(actions):
        row = (
            f"| {action.action} | {action.task or ''} | {action.ref} | {_escape(action.reason)} "
            f"| {action.gpus or ''} |"
        )
        length += len(row) + 1
        if length > LONGEST_COMMENT:
            rows.append(f"| | | and {len(actions) - number} more | | |")
            break
        rows.append(row)
    return rows


def _title(action: Action) -> str:
    return f"{action.task or 'manifest'} {action.ref}"


def _summary(review: Review) -> str:
    told = [
        f"{review.counts[kind]} to {kind}"
        if kind is not ActionKind.KEEP
        else f"{review.counts[kind]} kept"
        for kind in ActionKind
        if review.counts.get(kind)
    ]
    gpus = f", {review.gpus} GPUs" if review.gpus else ""
    errors = f"; {len(review.errors)} errors" if review.errors else ""
    if not review.changes:
        return f"Nothing changes{': ' + ', '.join(told) if told else ''}{errors}."
    return f"Plan: {', '.join(told)}{gpus}{errors}."


def _escape(value: str) -> str:
    for char in "\\`*_[]<>|":
        value = value.replace(char, f"\\{char}")
    return " ".join(value.split())
