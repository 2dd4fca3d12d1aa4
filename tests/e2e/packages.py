"""A package index for pods, which reach nothing outside: wheels, as a mirror serves them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from typing import Any


@contextmanager
def package_index(address: str, requirements: Path) -> Iterator[str]:
    """The URL of an index that has what ``requirements`` name, and what that needs."""
    server = ThreadingHTTPServer((address, 0), partial(_Quiet, directory=_index(requirements)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://{address}:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    """Lists folders, and writes no line for each request."""

    def log_message(self, *_: Any) -> None:
        pass


def _index(requirements: Path) -> Path:
    """A folder for each project with its wheels; downloaded once per machine."""
    content = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = cache / "model-reconciler-tests" / f"wheels-{content}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(dir=kept.parent))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
        subprocess.run([*command, "--dest", made, "-r", requirements], check=True)
        for wheel in list(made.glob("*.whl")):
            project = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
            (made / project).mkdir(exist_ok=True)
            wheel.rename(made / project / wheel.name)
        try:
            made.rename(kept)
        except OSError:  # a test process beside this one was faster
            shutil.rmtree(made)
    return kept
