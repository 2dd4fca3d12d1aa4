"""The configured policy of collection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """The configured policy.

    Of an object the newest ``keep`` artifacts stay, and all younger than ``days``. ``branches`` are
    globs: what the heads of those branches ask for stays as well. What failed attempts have left
    goes ``failed`` days after the last of them.
    """

    enabled: bool = False
    keep: int = 3
    days: float = 30.0
    failed: float = 7.0
    grace: timedelta = timedelta(days=7)
    max_share: float = 0.2
    branches: tuple[str, ...] = ()
