"""Orders on artifacts in buckets that the daemon itself cannot write."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from reconciler.engine.interface import EngineError, Wanted
from reconciler.types import TaskKind

#: Orders of one Job; all are in one variable, of which Linux takes 128 KiB.
MOST_ORDERS = 200


class OrderKind(enum.StrEnum):
    """A step to take on an artifact."""

    HIDE = "hide"
    RESTORE = "restore"
    REMOVE = "remove"


class OrderOutcome(enum.StrEnum):
    """An artifact's state after an order.

    REMOVED: by this order. GONE: it had no marker. LATE: the order's time was over, and nothing was
    done. FAILED: the order could not be carried out, or not to its end.
    """

    COMPLETE = "complete"
    HIDDEN = "hidden"
    REMOVED = "removed"
    GONE = "gone"
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ArtifactOrder:
    """One order on one artifact."""

    kind: OrderKind
    artifact: Wanted


@dataclass(frozen=True, slots=True)
class OrderResult:
    """The outcome of an order, and the bytes that it freed."""

    outcome: OrderOutcome
    freed: int = 0


class PodRefusedError(EngineError):
    """A Job that got no pod, so that nothing was done."""


class JobEndedError(EngineError):
    """A Job that somebody else has ended: a user's restore does so."""


def bucket_part(artifact: Wanted) -> tuple[str, str] | None:
    """Return the namespace's part of a bucket, and the path in it.

    The part is ``BUCKET/clusters/C/namespaces/N``; in it an artifact is ``KIND/NAME/KEY``, and an
    evaluation ``KIND/NAME/evaluations/KEY``. None for a build.
    """
    if artifact.url is None:
        return None
    names = artifact.url.rstrip("/").split("/")
    depth = 4 if artifact.task is TaskKind.EVALUATE else 3
    return "/".join(names[:-depth]), "/".join(names[-depth:])
