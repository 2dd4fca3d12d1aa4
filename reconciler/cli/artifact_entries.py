"""The JSON of ``artifacts --format json``, an entry each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from reconciler.codec import Codec
from reconciler.engine import CollectedKind
from reconciler.status import CollectionStep


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactEntry:
    """An artifact. ``kind`` is its object's; ``size`` is null where unknown.

    ``what`` tells it from an image, and from what failed attempts, or a try, have left: that has
    the key of its task, and no URL. ``collection`` is its next step in a collection, and
    ``kept_by`` are the first that keep it from one, by the last collection; null and empty where
    that does not know it.
    """

    kind: str
    namespace: str | None
    name: str
    key: str
    url: str | None
    finished: datetime | None
    size: int | None
    used_by: tuple[str, ...]
    removed: bool
    collection: CollectionStep | None = None
    kept_by: tuple[str, ...] = ()
    what: CollectedKind = CollectedKind.ARTIFACT


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentEntry(ArtifactEntry):
    """An image or environment, with an artifact's fields too.

    ``collected_from`` is the time from which a daemon may remove it, null while it may not.
    """

    last_used: datetime
    running: bool
    shared: bool
    collected_from: datetime | None
    frees: int


#: Of both kinds: a codec writes the fields of the class that it is given.
ENTRIES = Codec(ArtifactEntry, omit="nothing")
