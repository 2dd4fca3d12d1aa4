"""Whether this process may change anything, asked before each change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Authority:
    """Of the only daemon there is, or of one replica among several.

    ``leads`` says whether no other can have taken over; ``epoch`` counts the changes of hand, and
    is None where there are no others.
    """

    leads: Callable[[], bool] = _always
    epoch: int | None = None
