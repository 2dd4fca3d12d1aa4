"""Commands, run to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def run(
    command: Sequence[str | Path], *, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """What a command ended with and printed, as text."""
    return subprocess.run(command, capture_output=True, text=True, check=check, **options)
