"""Lineage graphs: a bounded number of objects that depend on each other."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.planner import ObjectStatus
from reconciler.types import ObjectRef
from reconciler.web.graph_layout import Layout, lay_out
from reconciler.web.snapshot import Catalog

#: A larger graph cannot be read, and slows down a browser.
MOST_NODES = 60
#: Of the selected objects; the rest is room for their upstream.
MOST_SELECTED = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The layout of a lineage graph.

    ``left_out`` counts objects beyond the bound, and ``alone`` those without any dependency.
    """

    layout: Layout[ObjectRef]
    left_out: int = 0
    alone: int = 0


def overview(catalog: Catalog, found: Sequence[ObjectStatus]) -> Lineage:
    """Lay out the first selected objects with dependencies, and their upstream."""
    ties = catalog.upstream, catalog.downstream
    tied = [record.ref for record in found if any(tie.get(record.ref) for tie in ties)]
    shown = dict.fromkeys(tied[:MOST_SELECTED])
    for ref in _upstream(catalog, list(shown)):
        if len(shown) >= MOST_NODES:
            break
        shown.setdefault(ref)
    left_out = sum(ref not in shown for ref in tied)
    return _drawn(catalog, shown, left_out=left_out, alone=len(found) - len(tied))


def neighbourhood(catalog: Catalog, ref: ObjectRef) -> Lineage:
    """Lay out an object's upstream and downstream, the nearest first."""
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
    layout = lay_out(sorted(shown), {ref: catalog.upstream.get(ref, ()) for ref in shown})
    return Lineage(layout=layout, left_out=left_out, alone=alone)
