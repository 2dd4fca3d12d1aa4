"""The plan of a change to a base that 5,000 Models are trained from.

Every one of them is trained again, so each is in the plan with its forecast and its cause. The
baseline reads and parses the blobs of one commit and of the status branch, and does nothing with
them. Both are whole processes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.commands import PARSE_BLOBS, seconds
from benchmarks.figures import Figure
from benchmarks.repository import dependent, make

DEPENDENTS = 5_000
ROUNDS = 5


def measure(dependents: int = DEPENDENTS, rounds: int = ROUNDS) -> Iterator[Figure]:
    """Yield the figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "repository")
        first, second = make(folder, 1 + dependents, manifest=dependent, changed=0)
        plan = [sys.executable, "-m", "reconciler", "plan", "--base", first, "--head", second]
        parse = [sys.executable, "-c", PARSE_BLOBS, "."]
        pairs = [(seconds(plan, folder), seconds(parse, folder)) for _ in range(rounds)]
    yield Figure(
        name="dependents",
        title=f"plan, a base of {dependents:,} dependents",
        baseline="parsing manifests and statuses",
        unit="s",
        rounds=pairs,
        aim_value=2.0,
    )
