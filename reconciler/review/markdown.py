"""A plan as a pull request comment of bounded length.

The most important parts come first, the rest is folded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from reconciler.planner import ActionKind, Hold
from reconciler.reasons import message
from reconciler.review.actions import Action
from reconciler.review.escape import code, label, prose
from reconciler.review.quantities import counted
from reconciler.review.report import ObjectReview, Review
from reconciler.review.sentences import (
    NO_METRICS,
    grouped_errors,
    once_made,
    refusals,
    rest,
    served,
    shown_estimate,
    shown_forecast,
    shown_gpus,
    status_age,
    summary,
    swapped_metrics,
    symbol,
    verb,
    withheld,
)
from reconciler.review.swaps import Swap
from reconciler.review.variants import combination_lines, shown_actions, with_variant
from reconciler.types import Kind, ObjectRef, Problem

#: GitHub takes comments of 65,536 characters; counted here in bytes, of which there are never
#: fewer, whatever a forge calls a character.
LONGEST = 65_000
#: What the parts that are always there may take; objects get what is left of the whole.
_LONGEST_ERRORS = 16_000
_LONGEST_GRAPH = 12_000
_LONGEST_UNKNOWN = 6_000
_LONGEST_SWAPS = 6_000
_MOST_OPEN = 5
_MOST_NAMES = 20

T = TypeVar("T")


def render_markdown(review: Review, title: str = "Plan") -> str:
    """Render a review as Markdown.

    Summary, holds and errors are open; objects and the graph are folded.
    """
    parts = [f"### {title}\n\n{summary(review)}"]
    if estimated := shown_estimate(review):
        parts.append(prose(estimated))
    if review.swaps:
        swaps = _lines(review.swaps, _swap, _LONGEST_SWAPS, "promotion")
        parts.append(f"**Production**\n\n{swaps}")
    parts += [_hold(hold) for hold in review.holds]
    parts += [_released(hold) for hold in review.released]
    if review.errors:
        errors = list(grouped_errors(review).items())
        parts.append(_lines(errors, lambda e: _error(*e), _LONGEST_ERRORS, "error"))
        parts += [_refusal(text, refs) for text, refs in refusals(review)]
    unknown = list(review.unknowns())
    if unknown:
        told = _lines(unknown, lambda line: f"- {prose(line)}.", _LONGEST_UNKNOWN, "thing")
        parts.append(f"**Not known**\n\n{told}")
    parts += [f"> :warning: {_refusal(text, refs)}" for text, refs in withheld(review)]
    drawn = graph(review, longest=_LONGEST_GRAPH)
    end = [_fold("Graph of what changes", drawn)] if drawn else []
    besides = rest(review)
    besides = f"{besides[:1].upper()}{besides[1:]} " if besides else ""
    age = status_age(review)
    besides += f"{age} " if age else ""
    end.append(f"<sub>{besides}Base {code(review.base[:12])}, head {code(review.head[:12])}.</sub>")
    objects = [found for found in review.objects if not found.refused]
    if objects:
        left = LONGEST - sum(len(part.encode()) + 2 for part in [*parts, *end]) - 500
        text = _lines(objects, lambda found: _object(found, review), left, "object")
        title = f"What changes: {counted(len(objects), 'object')}"
        parts.append(_fold(title, text, opened=len(objects) <= _MOST_OPEN))
    return "\n\n".join([*parts, *end])


def _fold(title: str, inside: str, *, opened: bool = False) -> str:
    """Render a folded part.

    A forge reads Markdown within it only between empty lines.
    """
    start = "<details open>" if opened else "<details>"
    return f"{start}<summary>{title}</summary>\n\n{inside}\n\n</details>"


def _lines(items: Sequence[T], render: Callable[[T], str], longest: int, noun: str) -> str:
    """Render as many items as fit, and count the others."""
    kept: list[str] = []
    length = 0
    for item in items:
        line = render(item)
        length += len(line.encode()) + 1
        if length > longest:
            more = counted(len(items) - len(kept), f"more {noun}")
            kept.append(f"- and {more}; `reconciler plan` lists them all")
            break
        kept.append(line)
    return "\n".join(kept)


def _error(problem: Problem, objects: int) -> str:
    of = f" ({counted(objects, 'object')})" if objects > 1 else ""
    field = f" {code(problem.field, 100)}:" if problem.field else ""
    return f"- :x: {code(str(problem.location), 160)}{field} {prose(problem.message)}{of}"


def _refusal(text: str, refs: Sequence[ObjectRef]) -> str:
    names = [code(f"{ref.namespace}/{ref.name}", 140) for ref in refs[:_MOST_NAMES]]
    more = f" and {len(refs) - _MOST_NAMES:,} more" if len(refs) > _MOST_NAMES else ""
    return f"{prose(text)}: {', '.join(names)}{more}."


def _swap(swap: Swap) -> str:
    name = code(f"{swap.ref.namespace}/{swap.ref.name}", 140)
    sides = (code(served(side, swap), 140) for side in (swap.before, swap.after))
    metrics = [f"{code(name, 100)} {prose(values)}" for name, values in swapped_metrics(swap)]
    told = ", ".join(metrics) or NO_METRICS
    return f"- **{swap.ref.kind}** {name} serves {' → '.join(sides)}{once_made(swap)}; {told}"


def _hold(hold: Hold) -> str:
    return (
        f"> :warning: **Held**: {prose(message(hold.reason))}.\n"
        f"> To release it, add this line to {_files(hold)}; this pull request may do so:\n"
        f">\n> {code(hold.id)}"
    )


def _files(hold: Hold) -> str:
    return " or ".join(map(code, hold.files))


def _released(hold: Hold) -> str:
    line = f"the line {code(hold.id)} in {_files(hold)}"
    return f"> :warning: **Released** by {line}: {prose(message(hold.reason))}."


def _object(found: ObjectReview, review: Review) -> str:
    where = ""
    if found.place is not None:
        place = f"{found.place.file}:{found.place.line}" if found.place.line else found.place.file
        where = f" in {code(place, 160)}"
    lines = [f"- **{found.ref.kind}** {code(_name(found))}{where}"]
    lines += [f"  - {line}" for line in (*_why(found), *_actions(found, review))]
    return "\n".join(lines)


def _name(found: ObjectReview) -> str:
    return f"{found.ref.namespace}/{found.ref.name}"


def _why(found: ObjectReview) -> Iterator[str]:
    why = found.why
    if why is None:
        return
    if why.new:
        yield "new"
    for change in why.fields[:20]:
        yield f"{code(change.name, 100)}: {code(change.before)} → {code(change.after)}"
    if len(why.fields) > 20:
        yield f"and {counted(len(why.fields) - 20, 'more field')}"
    yield from map(prose, combination_lines(why))
    for move in why.moves:
        commits = f"{code(move.before[:7])} → {code(move.after[:7])}"
        yield f"{move.title} {code(move.where)} moved: {commits}"
    if why.because:
        yield prose(why.because)


def _actions(found: ObjectReview, review: Review) -> Iterator[str]:
    actions, more = shown_actions(found.actions)
    for action in actions:
        sign = symbol(action)
        task = f"**{action.label}** " if action.task else ""
        yield f"{code(sign)} {task}{prose(_run(action, review))}"
    if more:
        yield f"and {counted(more, 'more variant')}; `reconciler plan --all` lists them"
    if found.free:
        yield f"{code('=')} {prose(message(found.free))}"


def _run(action: Action, review: Review) -> str:
    forecast = shown_forecast(action, review.prices)
    return with_variant(action, verb(action, review.now)) + shown_gpus(action) + forecast


#: Beyond this a graph of boxes tells nothing to anybody.
MOST_NODES = 40
MOST_EDGES = 80

_STYLES = {
    "made": "fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
    "again": "fill:#fff8c5,stroke:#9a6700,color:#1f2328",
    "ended": "fill:#ffebe9,stroke:#cf222e,color:#1f2328",
    "held": "fill:#fbefff,stroke:#8250df,color:#1f2328",
    "same": "fill:#f6f8fa,stroke:#59636e,color:#1f2328",
}
_WHOLE = {
    ActionKind.DELETE: "removed",
    ActionKind.HOLD: "removal held",
    ActionKind.REFUSE: "refused",
}
_CLASS = {"+": "made", "~": "again", "-": "ended", "!": "held"}


def graph(review: Review, *, longest: int) -> str:
    """Render a fenced mermaid block; empty if no two objects are linked."""
    objects = {found.ref: found for found in review.objects}
    if len(objects) < 2 or not any(up in objects for f in objects.values() for up in f.upstream):
        return ""
    shown = list(objects.values())[:MOST_NODES]
    while shown:
        drawn = _drawn(shown, len(objects))
        if len(drawn.encode()) <= longest:
            return drawn
        shown.pop()
    return ""


def _drawn(shown: list[ObjectReview], total: int) -> str:
    names = {found.ref: f"o{number}" for number, found in enumerate(shown)}
    lines = ["```mermaid", "graph LR"]
    classes: dict[str, list[str]] = {}
    for found in shown:
        name, kind = names[found.ref], _class(found)
        lines.append(f"  {name}{_box(found)}")
        classes.setdefault(kind, []).append(name)
    lines += _edges(shown, names)
    if len(shown) < total:
        lines.append(f'  more["and {total - len(shown)} more"]')
    for kind, members in sorted(classes.items()):
        lines.append(f"  classDef {kind} {_STYLES[kind]}")
        lines.append(f"  class {','.join(members)} {kind}")
    return "\n".join([*lines, "```"])


def _edges(shown: Iterable[ObjectReview], names: dict[ObjectRef, str]) -> list[str]:
    edges = [
        f"  {names[up]} --> {names[found.ref]}"
        for found in shown
        for up in found.upstream
        if up in names
    ]
    return edges[:MOST_EDGES]


def _box(found: ObjectReview) -> str:
    """Render a node; a Dataset is drawn as a cylinder."""
    counts = Counter(
        # The trainings of a sweep are counted.
        (f"{symbol(a)} {a.label or _WHOLE.get(a.action, '')}".rstrip(), a.variant is None and n)
        for n, a in enumerate(found.actions)
    )
    tasks = ", ".join(f"{text} ({n})" if n > 1 else text for (text, _), n in counts.items())
    text = label(found.ref.name) + (f"<br/>{_signs(tasks)}" if tasks else "")
    return f'[("{text}")]' if found.ref.kind is Kind.DATASET else f'["{text}"]'


def _signs(tasks: str) -> str:
    """Escape symbols of tasks that mermaid would read as Markdown."""
    return "".join(f"#{ord(c)};" if c in "-~+=" else c for c in tasks)


def _class(found: ObjectReview) -> str:
    """Return the style class of the action that most needs attention."""
    signs = {symbol(action) for action in found.actions if action.action is not ActionKind.WAIT}
    return next((_CLASS[sign] for sign in "!-~+" if sign in signs), "same")
