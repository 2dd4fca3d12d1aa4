"""Seeds with a few changes, as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.target import Target

#: Changes of one input, and bytes that one change takes.
_MOST, _LONGEST = 5, 64


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Draw changed seeds, sequences of tokens, and any bytes."""
    tokens = st.sampled_from(target.tokens) if target.tokens else st.nothing()
    pieces = tokens | st.binary(max_size=4) | st.text(max_size=3).map(str.encode)
    seeds = st.sampled_from(list(target.seeds().values()))
    drawn = _changed(seeds, pieces) | st.lists(pieces, max_size=40).map(b"".join)
    return drawn.map(lambda data: data[: target.largest])


@st.composite
def _changed(
    draw: st.DrawFn, seeds: st.SearchStrategy[bytes], pieces: st.SearchStrategy[bytes]
) -> bytes:
    """Draw a seed and change it: replace, remove, repeat, or splice another in."""
    data = draw(seeds)
    for _ in range(draw(st.integers(1, _MOST))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + _LONGEST, len(data))))
        match draw(st.sampled_from(["replace", "insert", "remove", "repeat", "splice"])):
            case "replace":
                new = draw(pieces)
            case "insert":
                new = draw(pieces) + data[start:end]
            case "remove":
                new = b""
            case "repeat":
                new = data[start:end] * draw(st.sampled_from([2, 3, 30]))
            case _:
                other = draw(seeds)
                at = draw(st.integers(0, len(other)))
                new = other[at : at + _LONGEST]
        data = data[:start] + new + data[end:]
    return data
