"""``make bench``: what validate and plan cost, whole processes, beside doing only the reading.

The baseline of ``validate`` parses the same files with ruamel.yaml's C loader and does nothing with
them; that of ``plan`` reads and parses the blobs of one commit and of the status branch. Figures
are medians of whole processes, so they have the interpreter's start and all imports in them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.repository import make

COUNTS = (100, 1_000, 10_000)
RUNS = 3

PARSE_FILES = """
import sys
from pathlib import Path
from ruamel.yaml import YAML
for file in sorted(Path(sys.argv[1], "models").iterdir()):
    YAML(typ="safe").load(file.read_bytes())
"""
PARSE_BLOBS = """
import sys
import pygit2
from ruamel.yaml import YAML
repository = pygit2.Repository(sys.argv[1])
def walk(tree):
    for entry in tree:
        if isinstance(entry, pygit2.Tree):
            walk(entry)
        elif entry.name.endswith(".yaml"):
            YAML(typ="safe").load(entry.data)
for rev in ("main", "reconciler/status/local"):
    walk(repository.revparse_single(rev).peel(pygit2.Tree))
"""


def seconds(command: list[str], folder: Path, *, codes: tuple[int, ...] = (0,)) -> float:
    """The median wall time of a whole process."""
    taken = []
    for _ in range(RUNS):
        start = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        taken.append(time.perf_counter() - start)
        if done.returncode not in codes:
            raise SystemExit(done.stdout.decode() + done.stderr.decode())
    return statistics.median(taken)


def main() -> None:
    """Print a row per command and size."""
    me = [sys.executable, "-m", "reconciler"]
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; median of {RUNS} processes")
    print(f"{'':10}{'manifests':>10}{'seconds':>10}{'baseline':>10}{'ratio':>8}{'ms each':>10}")
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "repository")
            first, second = make(folder, count)
            rows = {
                "validate": (
                    seconds([*me, "validate", "."], folder),
                    seconds([sys.executable, "-c", PARSE_FILES, "."], folder),
                ),
                "plan": (
                    seconds([*me, "plan", "--base", first, "--head", second], folder, codes=(2,)),
                    seconds([sys.executable, "-c", PARSE_BLOBS, "."], folder),
                ),
            }
            for what, (took, baseline) in rows.items():
                print(
                    f"{what:10}{count:>10}{took:>10.2f}{baseline:>10.2f}"
                    f"{took / baseline:>8.2f}{1000 * took / count:>10.2f}",
                    flush=True,
                )


main()
