"""The rounds of a soak: steps drawn from a seed, and the calm after them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from reconciler.reasons import ReasonCode
from reconciler.status import SYNC_FILE, StatusFormatError, load_record, load_sync
from tests.e2e.site import git
from tests.soak.arena import Arena

#: Seconds until everything must be as the last push asks, once nothing disturbs.
CALM = 240.0
_REASONS = {code.value for code in ReasonCode}


class Soak:
    """``pace`` is the longest pause between two steps, in seconds."""

    def __init__(self, arena: Arena, *, seed: int, pace: float, say: Callable[[str], None]) -> None:
        self.arena, self.seed, self.pace, self.say = arena, seed, pace, say
        self.steps = self.rounds = 0
        self._read: dict[str, int] = {}

    def disturb(self, steps: int) -> None:
        """Take some steps."""
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        arena, self.steps = self.arena, self.steps + 1
        chance = Random(f"{self.seed}/{self.steps}")
        choices = arena.disturbances()
        [(_, disturbance)] = chance.choices(choices, [weight for weight, _ in choices])
        arena.pass_step()
        told = disturbance(chance)
        self.say(f"step {self.steps}: {told}")
        arena.look_after()
        time.sleep(chance.uniform(0, self.pace))

    def calm(self) -> None:
        """Give everything back, and check what must hold then."""
        arena, self.rounds = self.arena, self.rounds + 1
        arena.give_back()
        arena.sections = {}
        arena.right_configuration()
        if arena.clock is not None:
            arena.clock.set(0)
        arena.end(signal.SIGTERM)  # what is deleted is looked for at a start
        arena.ask_for_everything(f"calm-{self.rounds}")
        head = arena.push_files("Ask for everything anew")
        self.say(f"calm {self.rounds}: {head[:12]}")
        arena.start()
        statuses = self._settle(head)
        arena.end(signal.SIGTERM)
        self._check_once(statuses)
        for left in arena.leftovers():
            arena.violation(f"a process is left: {left[:300]}")
        statuses = arena.statuses()
        self._check_statuses(statuses)
        self._check_branch()
        self._check_logs()
        arena.check_artifacts(statuses)
        self._compare(statuses)
        self.say(f"calm {self.rounds}: {len(arena.violations)} violations so far")

    def _settle(self, head: str) -> Mapping[str, Any]:
        """Wait until all is as it is expected; returns the statuses."""
        expected, deadline = self.arena.expected(), time.monotonic() + CALM
        while time.monotonic() < deadline:
            self.arena.look_after()
            # Before the statuses: they are of this head or a later sync then.
            synced = head in self._sync()
            statuses = self.arena.statuses()
            phases = {name: status["phase"] for name, status in statuses.items()}
            if synced and phases == expected:
                return statuses
            time.sleep(0.3)
        for name in sorted(expected.keys() | phases.keys()):
            if expected.get(name) != phases.get(name):
                status = statuses.get(name, {})
                self.arena.violation(
                    f"after {CALM:g} s {name} is {phases.get(name)}, not {expected.get(name)}: "
                    f"{status.get('reason')}: {status.get('message')}"
                )
        return statuses

    def _sync(self) -> str:
        site = self.arena.site
        return git(site.remote, "show", f"{site.branch}:{SYNC_FILE}", quiet=True)

    def _check_once(self, statuses: Mapping[str, Any]) -> None:
        phases = {status["phase"] for status in statuses.values()}
        bad, waiting = phases & {"Failed", "Invalid"}, phases & {"Waiting", "Pending", "Lost"}
        expected = 1 if bad else 3 if waiting else 0
        code = self.arena.run_once()
        if code not in (expected, None):
            self.arena.violation(f"run --once ended with {code}, not {expected}, at {phases}")

    def _check_statuses(self, statuses: Mapping[str, Any]) -> None:
        for name, status in statuses.items():
            reason, message = status.get("reason"), status.get("message")
            if status["phase"] != "Ready" and (reason not in _REASONS or not message):
                self.arena.violation(
                    f"{name} is {status['phase']} without a reason: {reason}, {message}"
                )

    def _check_branch(self) -> None:
        """Read each file of the status branch as a daemon does."""
        site = self.arena.site
        for path in git(site.remote, "ls-tree", "-r", "--name-only", site.branch).split():
            data = git(site.remote, "show", f"{site.branch}:{path}").encode()
            try:
                if path == SYNC_FILE:
                    load_sync(data)
                elif path.endswith(".yaml"):
                    load_record(path, data)
            except StatusFormatError as error:
                self.arena.violation(str(error))

    def _check_logs(self) -> None:
        for name in ("daemon.log", "once.log", "fresh.log"):
            log = self.arena.root / name
            if not log.exists():
                continue
            with log.open(errors="replace") as file:
                file.seek(self._read.get(name, 0))
                new = file.read()
                self._read[name] = file.tell()
            for part in new.split("Traceback (most recent call last)")[1:]:
                self.arena.violation(f"a traceback in {name}: {part[:1500]}")
            self.arena.figures["runs created"] += new.count('"run created"')
            self.arena.figures["heads synced"] += new.count('"new head"')

    def _compare(self, statuses: Mapping[str, Any]) -> None:
        fresh = self.arena.fresh_statuses()
        for name in sorted(statuses.keys() | fresh.keys()):
            ours, theirs = (_outcome(each.get(name)) for each in (statuses, fresh))
            if ours != theirs:
                self.arena.violation(f"{name} is {ours}, and {theirs} in a new installation")

    def report(self) -> str:
        """The figures, one a line."""
        site = self.arena.site
        commits = git(site.remote, "rev-list", "--count", site.branch, quiet=True).strip()
        figures = {
            "steps": self.steps,
            "rounds": self.rounds,
            **dict(sorted(self.arena.figures.items())),
            "keys finished": len(self.arena.finished),
            "status commits": commits,
            "violations": len(self.arena.violations),
        }
        lines = [f"  {name}: {figure}" for name, figure in figures.items()]
        return "\n".join([f"seed {self.seed}", *lines, *self.arena.violations])


def drawn(seed: int, step: int) -> Random:
    """The chance of one step, whatever became of those before it."""
    return Random(f"{seed}/{step}")


def _outcome(status: Mapping[str, Any] | None) -> tuple[object, ...]:
    """Return the phase of an object, and the key of its artifact."""
    if status is None:
        return ("missing",)
    key = status.get("artifact", {}).get("key") if status["phase"] == "Ready" else None
    return status["phase"], key
