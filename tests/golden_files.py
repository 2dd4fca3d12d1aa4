"""Outputs that are kept as files, to be read by people and compared.

After a change on purpose, ``GOLDEN=write`` writes them anew; then read what changed. Of a format
the change is a new version.
"""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent / "golden"


def kept(name: str, text: str) -> str:
    """The text of a golden file; it is this one first where they are to be written."""
    file = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return file.read_text(encoding="utf-8")
