"""Back-off and jitter of all pauses between tries and polls.

Every pause is spread at random, so that what failed together is not tried again together.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

#: The largest jitter of a back-off, as a share of the pause that it is added to.
JITTER = 0.25
#: The largest deviation of a poll interval from its mean, as a share of it.
POLL_JITTER = 0.1
#: A float holds no more than 2 to the power of 1023; 4 to the power of 64 is 2 to that of 128.
_MOST_STEPS = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow with each failure.

    They begin with ``first`` seconds, and ``longest`` bounds them before the jitter.
    """

    first: float
    longest: float
    factor: float = 2.0

    def delay(
        self, failures: int, *, at_least: float = 0.0, fraction: float | None = None
    ) -> float:
        """Return the seconds to wait after failures in a row, with jitter.

        ``failures`` counts from 1 and has no bound: a remote that is away for a day fails a
        thousand times in a row. ``at_least`` are seconds that the other side has asked for; they
        may be more than ``longest``. The jitter adds at most `JITTER`: ``fraction``, from 0 to 1,
        of that, by default at random.
        """
        steps = min(max(failures, 1) - 1, _MOST_STEPS)
        pause = max(min(self.first * self.factor**steps, self.longest), at_least)
        if fraction is None:
            fraction = random.random()  # noqa: S311 -- a jitter, not a secret
        return pause * (1 + JITTER * fraction)


def jittered(seconds: float) -> float:
    """Spread a poll interval by at most `POLL_JITTER` to either side."""
    spread = 2 * random.random() - 1  # noqa: S311 -- a jitter, not a secret
    return seconds * (1 + POLL_JITTER * spread)
