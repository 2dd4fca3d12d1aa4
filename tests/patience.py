"""Times after which something ends, on a machine of any speed."""

from __future__ import annotations

from collections.abc import Iterator

#: Seconds for which a test waits for what is going to happen. It costs nothing where that happens,
#: and a machine may be twenty times slower for a while.
PATIENCE = 240.0


def longer(first: float) -> Iterator[float]:
    """Yield a time, and longer ones, for a machine that was too slow for it.

    A test of what ends a command after a time takes the first in which the command came so far as
    the test needs. What is wrong is so at each of them.
    """
    for factor in (1, 4, 16, 64):
        yield first * factor
