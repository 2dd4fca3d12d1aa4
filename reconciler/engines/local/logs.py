"""What a command printed: a bounded log file, and its last lines for a reason."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

#: A log is cut here: a command gone wild would otherwise fill the disk under every other run.
LIMIT = 1 << 30
_TAIL = 8192
_REASON = 600
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class Output:
    """A log file that did not exist before. Nothing that goes wrong with it stops the command.

    ``disk_full``: something could not be written because the disk was full.
    """

    handle: int
    limit: int = LIMIT
    disk_full: bool = False
    _written: int = 0
    _cut: bool = False
    _tail: bytearray = field(default_factory=bytearray)

    @classmethod
    def create(cls, path: Path, *, limit: int = LIMIT) -> Output:
        """Create the file. Raises FileExistsError where an attempt of that number was."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        return cls(os.open(path, flags, 0o644), limit)

    def write(self, data: bytes) -> None:
        """Append what the command printed."""
        self._tail += data
        del self._tail[:-_TAIL]
        if self._cut:
            return
        if self._written + len(data) > self.limit:
            self._cut = True
            data = data[: self.limit - self._written]
            data += b"\n[reconciler] the log ends here: it has reached its limit of "
            data += f"{self.limit} bytes; the command goes on\n".encode()
        self._append(data)

    def note(self, text: str) -> None:
        """Append a line of our own."""
        self._append(f"[reconciler] {text}\n".encode())

    def _append(self, data: bytes) -> None:
        try:
            while data:
                count = os.write(self.handle, data)
                self._written += count
                data = data[count:]
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            self.disk_full = True

    def last_lines(self, count: int, secrets: Collection[str]) -> str:
        """The last lines with anything on them, as one line without secret values."""
        text = _CONTROL.sub("", self._tail.decode(errors="replace").replace("\r", "\n"))
        for secret in sorted(secrets, key=len, reverse=True):
            for part in {secret, *secret.splitlines()}:
                # Shorter ones would black out parts of ordinary words and protect nothing.
                if len(part) >= 4:
                    text = text.replace(part, "***")
        lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
        said = " / ".join(lines[-count:]) if count else ""
        return said if len(said) <= _REASON else f"…{said[-_REASON:]}"

    def close(self) -> None:
        """Close the file, durably if the disk lets us."""
        try:
            os.fsync(self.handle)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
        finally:
            os.close(self.handle)
