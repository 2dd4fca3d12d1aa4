"""The review of a plan as text for a terminal. Pure.

Colours are the escape sequences of click, which are left out where the output is no terminal.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click

from reconciler.planner import ActionKind
from reconciler.reasons import message
from reconciler.review.actions import Action
from reconciler.review.error_lines import error_line
from reconciler.review.escape import printable
from reconciler.review.quantities import counted
from reconciler.review.report import ObjectReview, Review
from reconciler.review.sentences import (
    grouped_errors,
    refusals,
    rest,
    shown_estimate,
    shown_forecast,
    shown_gpus,
    status_age,
    summary,
    swap_text,
    symbol,
    verb,
    withheld,
)
from reconciler.review.variants import combination_lines, shown_actions, with_variant

_COLOUR = {"+": "green", "~": "yellow", "-": "red", "!": "magenta", "=": "cyan", "…": None}
_LEGEND = {
    "+": "runs for the first time",
    "~": "runs again",
    "-": "cancelled or removed",
    "!": "held or refused",
    "=": "nothing runs",
    "…": "waits",
}


def render_text(review: Review, *, everything: bool = False) -> str:
    """Render a review as text; ``everything`` adds what is unchanged."""
    shown = [found for found in review.objects if not found.refused]
    objects = [_object(found, review, everything=everything) for found in shown]
    blocks = [_errors(review), *objects, _swaps(review), *_holds(review), *_released(review)]
    if everything:
        blocks += [_others(review), _incomplete(review)]
    blocks += [_unknown(review), _end(review, everything=everything)]
    return "\n\n".join(block for block in blocks if block)


def _errors(review: Review) -> str:
    lines = []
    for problem, objects in grouped_errors(review).items():
        of = f" ({counted(objects, 'object')})" if objects > 1 else ""
        lines.append(error_line(problem) + of)
    for told, refs in (*refusals(review), *withheld(review)):
        told_refs = ", ".join(f"{ref.namespace}/{ref.name}" for ref in refs)
        names = textwrap.wrap(told_refs, 92, break_on_hyphens=False)
        sign = click.style("!", fg=_COLOUR["!"])
        lines += ["", f"  {sign} {printable(told)}:", *(f"    {printable(line)}" for line in names)]
    return "\n".join(lines)


def _object(found: ObjectReview, review: Review, *, everything: bool) -> str:
    where = ""
    if found.place is not None:
        place = found.place
        where = f"{place.file}:{place.line}" if place.line else place.file
        where = "  " + click.style(printable(where), dim=True)
    lines = [click.style(printable(str(found.ref)), bold=True) + where]
    lines += [f"    {printable(line)}" for line in _why(found)]
    actions, more = (found.actions, 0) if everything else shown_actions(found.actions)
    lines += [_action(action, review) for action in actions]
    if more:
        lines.append(f"    and {counted(more, 'more variant')} (--all lists them)")
    if found.free:
        lines.append(click.style(f"  = {printable(message(found.free))}", fg="cyan"))
    return "\n".join(lines)


def _why(found: ObjectReview) -> Iterator[str]:
    why = found.why
    if why is None:
        return
    if why.new:
        yield "new"
    yield from map(str, why.fields)
    yield from combination_lines(why)
    yield from map(str, why.moves)
    if why.because:
        yield why.because


def _action(action: Action, review: Review) -> str:
    sign = symbol(action)
    task = f"{action.label} " if action.task else ""
    styled = click.style(f"{sign} {task}", fg=_COLOUR[sign])
    return f"  {styled}{printable(_run(action, review))}"


def _run(action: Action, review: Review) -> str:
    forecast = shown_forecast(action, review.prices)
    return with_variant(action, verb(action, review.now)) + shown_gpus(action) + forecast


def _swaps(review: Review) -> str:
    if not review.swaps:
        return ""
    lines = [f"{swap.ref} {swap_text(swap)}" for swap in review.swaps]
    title = click.style("Production:", bold=True)
    return "\n".join([title, *(f"  {printable(line)}" for line in lines)])


def _holds(review: Review) -> Iterator[str]:
    for hold in review.holds:
        styled = click.style("! Held", fg="magenta", bold=True)
        yield (
            f"{styled}: {printable(message(hold.reason))}.\n"
            f"  To release it, add this line to {printable(hold.place)}; this change may do so:\n\n"
            f"    {hold.id}"
        )


def _released(review: Review) -> Iterator[str]:
    for hold in review.released:
        styled = click.style("Released", bold=True)
        text = printable(message(hold.reason))
        yield f"{styled} by the line {hold.id} in {printable(hold.place)}: {text}."


def _others(review: Review) -> str:
    shown = [a for a in review.actions if not a.caused and a.action is not ActionKind.KEEP]
    if not shown:
        return ""
    lines = [click.style("With or without this change:", bold=True)]
    lines += [f"{_action(action, review)}  [{printable(str(action.ref))}]" for action in shown]
    return "\n".join(lines)


def _incomplete(review: Review) -> str:
    incomplete = review.incomplete
    if not incomplete:
        return ""
    title = click.style("Not complete after this sync starts:", bold=True)
    lines = [f"{status.ref} is {status.phase}: {status.message}" for status in incomplete]
    return "\n".join([title, *(f"  {printable(line)}" for line in lines)])


def _unknown(review: Review) -> str:
    lines = [f"  {printable(line)}." for line in review.unknowns()]
    return "\n".join([click.style("Not known:", bold=True), *lines]) if lines else ""


def _end(review: Review, *, everything: bool) -> str:
    lines = []
    shown = [found for found in review.objects if not found.refused]
    used = {symbol(action) for found in shown for action in found.actions}
    if any(found.free for found in review.objects):
        used.add("=")
    if used:
        legend = "   ".join(f"{sign} {means}" for sign, means in _LEGEND.items() if sign in used)
        lines += [click.style(legend, dim=True), ""]
    lines.append(click.style("Plan: ", bold=True) + summary(review))
    if estimated := shown_estimate(review):
        lines.append(printable(estimated))
    besides = rest(review)
    if besides:
        hint = "" if everything or not review.others else " (--all lists them)"
        lines.append(f"{besides[0].upper()}{besides[1:-1]}{hint}.")
    age = status_age(review)
    if age:
        lines.append(age)
    return "\n".join(lines)
