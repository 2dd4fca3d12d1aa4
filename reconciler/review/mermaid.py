"""The lineage of changed objects, as a mermaid graph."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.planner import ActionKind
from reconciler.review.escape import label
from reconciler.review.report import ObjectReview, Review
from reconciler.review.sentences import symbol
from reconciler.types import Kind, ObjectRef

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
_WHOLE = {ActionKind.DELETE: "removed", ActionKind.REFUSE: "refused"}
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
    tasks = ", ".join(
        f"{symbol(a)} {a.task or _WHOLE.get(a.action, '')}".rstrip() for a in found.actions
    )
    text = label(found.ref.name) + (f"<br/>{_signs(tasks)}" if tasks else "")
    return f'[("{text}")]' if found.ref.kind is Kind.DATASET else f'["{text}"]'


def _signs(tasks: str) -> str:
    """Escape symbols of tasks that mermaid would read as Markdown."""
    return "".join(f"#{ord(c)};" if c in "-~+=" else c for c in tasks)


def _class(found: ObjectReview) -> str:
    """Return the style class of the action that most needs attention."""
    signs = {symbol(action) for action in found.actions if action.action is not ActionKind.WAIT}
    return next((_CLASS[sign] for sign in "!-~+" if sign in signs), "same")
