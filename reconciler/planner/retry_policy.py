"""The retry policy: final failures, and the delays of others. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.backoff import Backoff
from reconciler.engine import FailureClass
from reconciler.reasons import Reason
from reconciler.types import ExecutionHash, TaskKey

#: Retries of failures that are not the command's, and the delays between them, in seconds.
RETRY_LIMIT = 10
RETRY_FIRST = 10.0
RETRY_LONGEST = 600.0
#: How far the clocks of this machine and of a run's may differ. A failure that is further in the
#: future is of a clock that has been set back since.
CLOCK_SKEW = timedelta(minutes=1)
#: Asking an engine that could not be asked before costs nothing.
UNAVAILABLE_LONGEST = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed task under one execution hash.

    ``count`` is of Infrastructure failures, ``tries`` of those in a row in which the engine was
    Unavailable: nothing of them is recorded, so that waiting makes no status commits. ``began`` is
    when its run did, ``turn`` the ledger's when that was first seen; 0 of one that was read, or
    that an engine had at a start.
    """

    key: TaskKey
    execution_hash: ExecutionHash
    kind: FailureClass
    reason: Reason
    at: datetime
    began: datetime = field(compare=False)
    count: int = 0
    tries: int = 0
    turn: int = field(default=0, compare=False)

    @property
    def remembered(self) -> bool:
        """True for a failure that lasts until key or execution hash change."""
        if self.kind is FailureClass.UNAVAILABLE:
            return False
        return self.kind is FailureClass.COMMAND or self.count > RETRY_LIMIT

    def retry_at(self, now: datetime) -> datetime:
        """Return the time of the next try.

        That is ``now`` if the failure's time means nothing.
        """
        if self.at > now + CLOCK_SKEW:
            return now
        return self.at + timedelta(seconds=self.retry_delay)

    @property
    def retry_delay(self) -> float:
        """Seconds from ``at`` to the next try.

        Exponential, with a jitter of at most a quarter that is fixed by the key.
        """
        if self.kind is FailureClass.UNAVAILABLE:
            number, longest = self.tries, UNAVAILABLE_LONGEST
        else:
            number, longest = self.count, RETRY_LONGEST
        retry = Backoff(first=RETRY_FIRST, longest=longest)
        return retry.delay(number, fraction=int(self.key[:4], 16) / 0xFFFF)
