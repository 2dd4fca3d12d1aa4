"""Layout of a directed graph as boxes and lines.

Crossings are few, and all places are whole pixels. The method is Sugiyama's: layers by depth, lines
that pass a layer get a place in it, the order within a layer follows the neighbours' means, and so
do the heights, as near as the gaps allow. The result depends on nothing but the arguments, so a
picture holds still while nothing changes.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

WIDTH, HEIGHT = 208, 48
_ACROSS, _DOWN, _MARGIN = 56, 14, 8
#: Distances between the middles of two boxes, and of two places of which one is only a line.
_GAP, _LINE_GAP = HEIGHT + _DOWN, 36
_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Box(Generic[T]):
    """A node's place: its upper left corner, in pixels."""

    node: T
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Layout(Generic[T]):
    """Boxes and, as SVG path data, the lines between them."""

    boxes: tuple[Box[T], ...]
    lines: tuple[str, ...]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Pass(Generic[T]):
    """The place in a layer of a line that passes through it."""

    source: T
    target: T
    layer: int


def lay_out(nodes: Sequence[T], upstream: Mapping[T, Collection[T]]) -> Layout[T]:
    """Place the nodes.

    ``upstream`` may name others, which are ignored, and hold circles.
    """
    known = set(nodes)
    layers = _layers(nodes, {n: [u for u in upstream.get(n, ()) if u in known] for n in nodes})
    edges = [(u, n) for n in nodes for u in upstream.get(n, ()) if u in known]
    ranks, links, routes = _ranks(nodes, edges, layers)
    before: dict[T | _Pass[T], list[T | _Pass[T]]] = {n: [] for rank in ranks for n in rank}
    after: dict[T | _Pass[T], list[T | _Pass[T]]] = {n: [] for rank in ranks for n in rank}
    for left, right in links:
        before[right].append(left)
        after[left].append(right)
    _untangle(ranks, before, after)
    heights = _heights(ranks, before, after)
    return _placed(nodes, layers, routes, heights)


def _layers(nodes: Sequence[T], upstream: Mapping[T, Collection[T]]) -> dict[T, int]:
    """Assign layers: each node right of its upstream.

    A node without upstream is just left of its use.
    """
    layers: dict[T, int] = {}
    waiting = list(nodes)
    while waiting:
        free = [n for n in waiting if all(u in layers for u in upstream[n])]
        for node in free or waiting[:1]:  # of a circle, one end is as good as another
            layers[node] = max((layers[u] + 1 for u in upstream[node] if u in layers), default=0)
        waiting = [n for n in waiting if n not in layers]
    for node in nodes:
        if not upstream[node]:
            uses = [layers[n] for n in nodes if node in upstream[n]]
            layers[node] = max(0, min(uses, default=1) - 1)
    return layers


def _ranks(
    nodes: Sequence[T], edges: Sequence[tuple[T, T]], layers: Mapping[T, int]
) -> tuple[
    list[list[T | _Pass[T]]],
    list[tuple[T | _Pass[T], T | _Pass[T]]],
    list[list[T | _Pass[T]]],
]:
    """Return the nodes by layer, the links of neighbours, and the routes.

    A route is the way of a line through its layers.
    """
    ranks: list[list[T | _Pass[T]]] = [[] for _ in range(max(layers.values(), default=-1) + 1)]
    for node in nodes:
        ranks[layers[node]].append(node)
    links: list[tuple[T | _Pass[T], T | _Pass[T]]] = []
    routes: list[list[T | _Pass[T]]] = []
    for source, target in edges:
        if layers[source] >= layers[target]:
            continue  # the line that closes a circle is not drawn
        passes = [_Pass(source, target, n) for n in range(layers[source] + 1, layers[target])]
        for passing in passes:
            ranks[passing.layer].append(passing)
        route: list[T | _Pass[T]] = [source, *passes, target]
        routes.append(route)
        links += pairwise(route)
    return ranks, links, routes


_Around = Mapping["T | _Pass[T]", "Collection[T | _Pass[T]]"]


def _untangle(ranks: list[list[T | _Pass[T]]], before: _Around[T], after: _Around[T]) -> None:
    """Order each layer by its neighbours' mean places, back and forth."""
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        around = before if forth else after
        for rank in ranks if forth else reversed(ranks):
            place = {n: i / len(other) for other in ranks for i, n in enumerate(other)}
            means = {n: _mean(n, place, around) for n in rank}
            rank.sort(key=means.__getitem__)


def _mean(node: T | _Pass[T], place: Mapping[T | _Pass[T], float], around: _Around[T]) -> float:
    near = [place[n] for n in around[node]]
    return sum(near) / len(near) if near else place[node]


def _heights(
    ranks: list[list[T | _Pass[T]]], before: _Around[T], after: _Around[T]
) -> dict[T | _Pass[T], float]:
    """Return each place's middle, near its neighbours, with gaps kept."""
    heights: dict[T | _Pass[T], float] = {}
    for rank in ranks:
        heights |= zip(rank, _spread([0.0] * len(rank), rank), strict=True)
    for sweep in range(_SWEEPS):
        around = before if sweep % 2 == 0 else after
        for rank in ranks if sweep % 2 == 0 else reversed(ranks):
            wished = [_mean(node, heights, around) for node in rank]
            heights |= zip(rank, _spread(wished, rank), strict=True)
    return heights


def _spread(wished: list[float], rank: Sequence[object]) -> list[float]:
    """Return the heights nearest to those wished that keep gaps.

    Nearest is by squares.

    With the gaps taken off they need only not decrease, which is isotonic regression: neighbours
    that would are pooled, and share their mean.
    """
    offsets = [0.0]
    for upper, lower in pairwise(rank):
        thin = isinstance(upper, _Pass) or isinstance(lower, _Pass)
        offsets.append(offsets[-1] + (_LINE_GAP if thin else _GAP))
    pools: list[tuple[float, int]] = []
    for wish, offset in zip(wished, offsets, strict=False):
        total, count = wish - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            more, size = pools.pop()
            total, count = total + more, count + size
        pools.append((total, count))
    means = [total / count for total, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]


def _placed(
    nodes: Sequence[T],
    layers: Mapping[T, int],
    routes: Sequence[Sequence[T | _Pass[T]]],
    heights: Mapping[T | _Pass[T], float],
) -> Layout[T]:
    top = min(heights.values(), default=0.0) - HEIGHT / 2 - _MARGIN

    def left(layer: int) -> int:
        return _MARGIN + layer * (WIDTH + _ACROSS)

    def middle(node: T | _Pass[T]) -> int:
        return round(heights[node] - top)

    def path(route: Sequence[T | _Pass[T]]) -> str:
        source = route[0]
        assert not isinstance(source, _Pass)  # a route begins and ends with a node
        layer, x, y = layers[source], left(layers[source]) + WIDTH, middle(source)
        drawn = [f"M{x} {y}"]
        for node in route[1:]:
            layer, before = layer + 1, y
            to, y = left(layer), middle(node)
            bend = (x + to) // 2
            drawn.append(f"C{bend} {before} {bend} {y} {to} {y}")
            x = to
            if isinstance(node, _Pass):
                x += WIDTH
                drawn.append(f"H{x}")
        return "".join(drawn)

    boxes = tuple(Box(n, left(layers[n]), middle(n) - HEIGHT // 2) for n in nodes)
    across = max((box.x for box in boxes), default=0) + WIDTH + _MARGIN
    down = max((middle(node) for node in heights), default=0) + HEIGHT // 2 + _MARGIN
    return Layout(boxes, tuple(map(path, routes)), across, down)
