"""10,000 steps of the simulator, and what it must find; ``make simulate`` takes more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import run
from tests.simulator.mutations import MUTATIONS
from tests.simulator.ports import CLOCKS

ROOT = Path(__file__).parents[2]
#: Seeds and steps that have found something; what it was is in the history of this file.
FOUND: list[tuple[int, int]] = []
#: Steps and seeds that a planted fault is looked for in; a calm follows the steps of each seed.
STEPS, SEEDS = 100, 30
#: Those that no calm shows, and few steps: they get 1,000 steps, of 10 seeds.
RARE = {"prune-on-doubt"}
#: Those that are found while little is spent: they get fewer steps before a calm.
SOON = {"overlook-tenant-budgets": 60}
#: A seed that finds a planted fault early, where seed 88 does not.
EARLY = {
    "believe-unmounted": 7,
    "end-running": 90,
    "overlook-guard-of-gpus": 94,
    "overlook-inputs": 90,
    "overlook-newest": 90,
    "overlook-pods": 89,
    "overlook-tenant-budgets": 105,
    "prune-on-doubt": 91,
}
#: What a daemon of a cluster does not run, or does not decide by.
OUTSIDE = re.compile(
    r"reconciler/(cli|web|forge|engines/local)/|/(pull_requests|pull_request_planner|notifications"
    r"|status_page|once|object_store)\.py$"
)


def simulated(*words: object) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "tests.simulator", *map(str, words)], timeout=290, cwd=ROOT)


@pytest.mark.slow("10,000 steps, and some 100 pass in a second")
@pytest.mark.parametrize(("seed", "steps"), [*((seed, 1000) for seed in range(10)), *FOUND])
def test_what_must_hold_holds_whatever_happens(seed: int, steps: int) -> None:
    done = simulated("--seed", seed, "--steps", steps)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_replays_exactly() -> None:
    first, second = (simulated("--seed", 7, "--steps", 200, "--verbose") for _ in range(2))
    assert "trace" in first.stdout
    assert without_time(first.stdout) == without_time(second.stdout)


def without_time(text: str) -> list[str]:
    """The lines of a simulation but the last, which says how long it took."""
    return text.splitlines()[:-1]


@pytest.mark.slow("up to 10,000 steps for each fault, and some 100 pass in a second")
@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_a_planted_fault_is_found(mutation: str) -> None:
    first = EARLY.get(mutation, 88)
    steps, seeds = (1000, 10) if mutation in RARE else (SOON.get(mutation, STEPS), SEEDS)
    done = simulated("--mutation", mutation, "--seed", first, "--seeds", seeds, "--steps", steps)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^seed \d+, step \d+: (?!Traceback)", done.stdout, re.MULTILINE), done.stdout


def test_no_clock_and_no_chance_is_outside_of_the_simulation() -> None:
    asked = re.compile(r"datetime\.now\(|time\.time\(|\brandom\.|secrets\.token|uuid4")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "reconciler").rglob("*.py")
        if asked.search(path.read_text())
    }
    known = {f"{module.replace('.', '/')}.py" for module in CLOCKS}
    known |= {"reconciler/backoff.py", "reconciler/daemon/leader.py"}
    assert {path for path in found if not OUTSIDE.search(path)} == known
