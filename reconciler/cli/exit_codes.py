"""Exit codes of the commands."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """The exit codes of all commands, as docs/operations.md lists them."""

    FINE = 0
    FAILURE = 1
    FINDINGS = 2
    WAITING = 3
    BAD_USAGE = 64
    INTERRUPTED = 130
