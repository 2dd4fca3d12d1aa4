"""``validate`` and ``plan``, whole processes, beside doing only the reading.

The baseline of ``validate`` parses the same files with ruamel.yaml's C loader and does nothing with
them; that of ``plan`` reads and parses the blobs of one commit and of the status branch. Both have
the interpreter's start and all imports in them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.repository import make

COUNTS = (100, 1_000, 10_000)
ROUNDS = 5

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


def measure() -> Iterator[Figure]:
    """Yield a figure for each command and number of manifests."""
    me = [sys.executable, "-m", "reconciler"]
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, "repository")
            first, second = make(folder, count)
            for what, command, beside, script in (
                ("validate", ("validate", "."), "parsing the files", PARSE_FILES),
                (
                    "plan",
                    ("plan", "--base", first, "--head", second),
                    "parsing manifests and statuses",
                    PARSE_BLOBS,
                ),
            ):
                pairs = [
                    (
                        seconds([*me, *command], folder),
                        seconds([sys.executable, "-c", script, "."], folder),
                    )
                    for _ in range(ROUNDS)
                ]
                yield Figure(
                    name=f"{what}.{count}",
                    title=f"{what}, {count:,} manifests",
                    baseline=beside,
                    unit="s",
                    rounds=pairs,
                )


def seconds(command: list[str], folder: Path) -> float:
    """Return the wall time of a whole process; 2 is a plan with changes."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode not in (0, 2):
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    return taken
