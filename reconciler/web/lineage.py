"""Which objects are drawn: those that hang together, and no more than can be taken in."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.planner import ObjectStatus
from reconciler.types import ObjectRef
from reconciler.web.catalog import Catalog
from reconciler.web.graph_layout import Drawing, draw

#: Beyond this a drawing tells nothing to anybody, and a browser begins to feel it.
MOST_NODES = 60
#: Of those asked for; the rest is room for what they are made from.
MOST_ASKED = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A drawing of objects. ``left_out`` would belong there; ``alone`` hang together with none."""

    drawing: Drawing[ObjectRef]
    left_out: int = 0
    alone: int = 0


def overview(catalog: Catalog, found: Sequence[ObjectStatus]) -> Lineage:
    """The objects asked for that hang together with others, the first ones, and their upstream."""
    ties = catalog.upstream, catalog.downstream
    tied = [record.ref for record in found if any(tie.get(record.ref) for tie in ties)]
    shown = dict.fromkeys(tied[:MOST_ASKED])
    for ref in _upstream(catalog, list(shown)):
        if len(shown) >= MOST_NODES:
            break
        shown.setdefault(ref)
    left_out = sum(ref not in shown for ref in tied)
    return _drawn(catalog, shown, left_out=left_out, alone=len(found) - len(tied))


def neighbourhood(catalog: Catalog, ref: ObjectRef) -> Lineage:
    """An object with all it is made from and all that is made from it, the nearest first."""
    seen = {ref}
    near: list[ObjectRef] = [ref]
    waiting = deque([(ref, catalog.upstream), (ref, catalog.downstream)])
    while waiting:
        at, direction = waiting.popleft()
        for neighbour in direction.get(at, ()):
            if neighbour not in seen:
                seen.add(neighbour)
                near.append(neighbour)
                waiting.append((neighbour, direction))
    return _drawn(catalog, dict.fromkeys(near[:MOST_NODES]), left_out=len(near[MOST_NODES:]))


def _upstream(catalog: Catalog, refs: list[ObjectRef]) -> list[ObjectRef]:
    found = dict.fromkeys(refs)
    for ref in refs:
        for up in catalog.upstream.get(ref, ()):
            if up not in found:
                found[up] = None
                refs.append(up)
    return list(found)


def _drawn(
    catalog: Catalog, shown: dict[ObjectRef, None], *, left_out: int, alone: int = 0
) -> Lineage:
    drawing = draw(sorted(shown), {ref: catalog.upstream.get(ref, ()) for ref in shown})
    return Lineage(drawing=drawing, left_out=left_out, alone=alone)
