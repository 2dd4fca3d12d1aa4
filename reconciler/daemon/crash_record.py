"""The pull requests' heads whose planning has ended the daemon.

Whoever may open a pull request must not be able to end the daemon after each restart: what ended
it once is not tried again until the request has another head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from reconciler.types import Commit

log = structlog.get_logger(__name__)

#: Heads that are remembered; the oldest are forgotten first.
MOST_HEADS = 1_000
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


class CrashRecord:
    """Heads in a folder's files ``planning``, the present one, and ``refused``."""

    def __init__(self, folder: Path) -> None:
        self._planning = folder / "planning"
        self._refused = folder / "refused"
        self._heads = dict.fromkeys(_read(self._refused))
        for head in _read(self._planning):
            log.warning("planning a pull request has ended the daemon", head=head[:12])
            self._heads[head] = None
            _write(self._refused, list(self._heads)[-MOST_HEADS:])
        self._planning.unlink(missing_ok=True)

    def __contains__(self, head: Commit) -> bool:
        return head in self._heads

    @contextmanager
    def attempt(self, head: Commit) -> Iterator[None]:
        """Remember a head while the block runs.

        A block that raises has not ended the daemon.
        """
        _write(self._planning, [head])
        try:
            yield
        finally:
            self._planning.unlink(missing_ok=True)


def _read(file: Path) -> list[Commit]:
    try:
        text = file.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        return []
    return [Commit(line) for line in text.splitlines() if _COMMIT.fullmatch(line)]


def _write(file: Path, heads: list[Commit]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text("".join(f"{head}\n" for head in heads))
    new.replace(file)
