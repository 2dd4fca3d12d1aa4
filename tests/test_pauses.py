"""A pause that doubles has an end, however often something has failed."""

from __future__ import annotations

import pytest

from reconciler.backoff import doubled


@pytest.mark.parametrize(
    ("times", "seconds"), [(0, 0.5), (1, 1.0), (5, 16.0), (6, 30.0), (1024, 30.0), (10**9, 30.0)]
)
def test_it_doubles_up_to_the_longest(times: int, seconds: float) -> None:
    assert doubled(0.5, times, 30.0) == seconds
