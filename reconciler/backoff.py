"""How long to wait before something that failed is tried again."""

from __future__ import annotations

#: A float holds no more than 2 to the power of 1023; no pause is as long as this many make it.
_MOST_DOUBLINGS = 64


def doubled(first: float, times: int, longest: float) -> float:
    """A pause that has doubled so many times, in seconds, without the jitter that is the caller's.

    A remote that is away for a day is asked a thousand times in a row, so the doubling has a bound.
    """
    return min(first * 2.0 ** min(times, _MOST_DOUBLINGS), longest)
