"""What takes long to make, and is kept on the machine from one run of the tests to the next."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import mkdtemp


def user_cache() -> Path:
    """The folder of the user's caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def made_once(name: str, sources: Iterable[Path], make: Callable[[Path], None]) -> Path:
    """The folder that ``make`` fills: once for this content of ``sources`` and this Python."""
    text = b"".join(source.read_bytes() for source in sources)
    content = hashlib.sha256(text + sys.version.encode()).hexdigest()[:16]
    kept = user_cache() / "model-reconciler-tests" / f"{name}-{content}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(dir=kept.parent))
        make(made)
        try:
            made.rename(kept)
        except OSError:  # a test process beside this one was faster
            shutil.rmtree(made)
    return kept
