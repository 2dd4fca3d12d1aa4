"""Where boxes go: none covers another, lines go to the right, and the same graph looks the same."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from reconciler.web.graph_layout import HEIGHT, WIDTH, Layout, lay_out

numbers = st.integers(0, 14)
graphs = st.dictionaries(numbers, st.lists(numbers, max_size=4, unique=True), max_size=15)


def places(layout: Layout[str]) -> dict[str, tuple[int, int]]:
    return {box.node: (box.x, box.y) for box in layout.boxes}


@given(graphs)
def test_every_node_has_a_box_of_its_own_within_the_picture(upstream: dict[int, list[int]]) -> None:
    layout = lay_out(sorted(upstream), upstream)
    assert [box.node for box in layout.boxes] == sorted(upstream)
    for box in layout.boxes:
        assert 0 <= box.x <= layout.width - WIDTH
        assert 0 <= box.y <= layout.height - HEIGHT
        for other in layout.boxes:
            apart = abs(box.x - other.x) >= WIDTH or abs(box.y - other.y) >= HEIGHT
            assert box is other or apart


@given(graphs)
def test_lines_run_from_left_to_right_and_the_same_graph_looks_the_same(
    upstream: dict[int, list[int]],
) -> None:
    layout = lay_out(sorted(upstream), upstream)
    for line in layout.lines:
        ends = [
            int(x) for x in re.findall(r"(?:M|H)(\d+)|(\d+) -?\d+(?=[CH]|$)", line) for x in x if x
        ]
        assert ends == sorted(ends)
    assert lay_out(sorted(upstream), dict(reversed(upstream.items()))) == layout


def test_an_object_stands_right_of_all_it_is_made_from() -> None:
    found = places(lay_out(["base", "data", "fine"], {"base": ["data"], "fine": ["base", "data"]}))
    assert found["data"][0] < found["base"][0] < found["fine"][0]


def test_what_is_made_from_nothing_stands_beside_its_use() -> None:
    chain = {"b": ["a"], "c": ["b"], "d": ["c", "late"]}
    found = places(lay_out(["a", "b", "c", "d", "late"], chain))
    assert found["late"][0] == found["c"][0]


def test_a_line_that_passes_a_layer_does_not_run_through_its_boxes() -> None:
    layout = lay_out(["a", "b", "c"], {"b": ["a"], "c": ["a", "b"]})
    (long,) = [line for line in layout.lines if "H" in line]
    height = int(re.findall(r"(\d+)H", long)[0])
    top = places(layout)["b"][1]
    assert not top <= height <= top + HEIGHT


def test_the_line_that_closes_a_circle_is_left_out() -> None:
    layout = lay_out(["a", "b"], {"a": ["b"], "b": ["a"]})
    assert len(layout.lines) == 1
