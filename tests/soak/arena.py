"""The site of a soak: its repository, its daemon, and what can be done to both on any engine."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from tests.clock import WallClock
from tests.e2e.site import Site, environment, git, stop
from tests.git.remotes import make_bare
from tests.processes import run
from tests.soak.accounts import MARKER, FinishedKeys, uptime
from tests.soak.repository import SCRIPT, Repository

#: Seconds within which a ``run --once`` must have ended. No command here takes longer than two.
ONCE = 180.0
#: Exit codes of it that are documented; 64 where the configuration is wrong.
ENDS = {0, 1, 3}
#: Seconds that a start may take on a busy machine: it may read what has been mended since.
_START = 60.0
#: What a daemon may end by itself for, to be started again.
_EXCUSES = {"full", "wrong configuration", "away", "no server", "no namespace"}

Disturbance = Callable[[Random], str]
#: The folders of buckets; a swapped configuration may name either.
BUCKETS = ("bucket-a", "bucket-b")


def named_buckets(default: Path) -> dict[str, dict[str, str]]:
    """The section of buckets: the default, and the other one, whose artifacts stay in use."""
    (other,) = (name for name in BUCKETS if name != default.name)
    return {
        "default": {"url": default.as_uri()},
        "other": {"url": default.with_name(other).as_uri()},
    }


class Arena(ABC):
    """A site, and what was done to it. ``violations`` are what should not have happened."""

    site: Site
    disk: Path
    bounded: bool
    buckets: list[Path]
    clocks: tuple[int, ...] = ()

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root = root
        self.say = say
        self.figures: Counter[str] = Counter()
        self.violations: list[str] = []
        self.finished = FinishedKeys()
        self.clock = WallClock.make(root)
        self.daemon: subprocess.Popen[str] | None = None
        #: What goes on for some steps: how to end it, and how many steps are left.
        self.open: dict[str, tuple[int, Callable[[], None]]] = {}
        self._given_back: dict[str, float] = {}
        self.repository: Repository
        self.sections: dict[str, Any] = {}
        self.calms = 0
        self._configurations = 0
        make_bare(root, "source.git")
        git(root, "clone", "--quiet", str(root / "source.git"), "source", quiet=True)
        git(root / "source", "checkout", "--quiet", "-B", "main")
        self._push_source(0)

    def make_buckets(self, folder: Path) -> None:
        self.buckets = [folder / name for name in BUCKETS]
        for bucket in self.buckets:
            bucket.mkdir()

    def artifacts(self) -> list[Path]:
        return sorted(marker.parent for each in self.buckets for marker in each.rglob(MARKER))

    def swapped(self, chance: Random) -> dict[str, Any]:
        """Other values of the configuration, by section."""
        bucket = chance.choice(self.buckets)
        choices: list[dict[str, Any]] = [
            {},
            *self.own_sections(chance),
            {"guard": {"tasks": 1}},
            {"limits": {"runs": 1}},
            {"history": {"jobs": chance.choice((0, 1))}},
            {"status": {"interval": "1s"}},
            {"buckets": named_buckets(bucket)},
            {"sources": {"interval": "2s"}},
        ]
        return chance.choice(choices)

    # -- what an engine has of its own -------------------------------------------------------

    @abstractmethod
    def disturbances(self) -> list[tuple[int, Disturbance]]:
        """What can be done, and how often."""

    def own_sections(self, chance: Random) -> list[dict[str, Any]]:
        """Other values of the engine's own sections of the configuration."""
        del chance
        return []

    @abstractmethod
    def expected(self) -> dict[str, str]:
        """The phase of each object in the end, by its name."""

    @abstractmethod
    def check_artifacts(self, statuses: Mapping[str, Any]) -> None:
        """Note Ready objects without a true artifact, and keys that ran while they were there."""

    @abstractmethod
    def fresh_statuses(self) -> Mapping[str, Any]:
        """What a new installation makes of the same commit."""

    def environment(self) -> dict[str, str]:
        clock = self.clock.environment if self.clock is not None else {}
        return {**environment(), **clock}

    def close(self) -> None:
        if self.daemon is not None:
            stop(self.daemon, signal.SIGKILL)

    def unmount(self) -> None:
        if self.bounded:
            run(["umount", "--lazy", self.disk], check=True)

    def leftovers(self) -> list[str]:
        """The commands of processes that are left while no daemon runs, and should not be."""
        return []

    # -- the daemon --------------------------------------------------------------------------

    @property
    def log(self) -> Path:
        return self.root / "daemon.log"

    def start(self) -> None:
        """Start the daemon, unless it runs."""
        if self.daemon is not None and self.daemon.poll() is None:
            return
        with self.log.open("a") as log:
            self.daemon = subprocess.Popen(
                self.site.command("run"), stdout=log, stderr=log, text=True, env=self.environment()
            )
        self.figures["starts"] += 1

    def end(self, number: signal.Signals) -> None:
        """End the daemon; asked to, it must end well."""
        self._note_end()
        daemon, self.daemon = self.daemon, None
        if daemon is None:
            return
        try:
            code = stop(daemon, number)
        except subprocess.TimeoutExpired:
            daemon.kill()
            code = daemon.wait()
            self.violation(f"the daemon does not end by {number.name}; {list(self.open)}")
        self.figures[f"daemons ended by {number.name}"] += 1
        # One that has only just been started has no handler of signals yet.
        if number is signal.SIGTERM and code not in (0, -number) and not self.open:
            self.violation(f"the daemon ended with {code} when asked to stop")

    def look_after(self) -> None:
        """Start the daemon again if it has ended, as a service manager does."""
        if "down" in self.open:
            return
        self._note_end()
        self.start()

    def _note_end(self) -> None:
        if self.daemon is None or (code := self.daemon.poll()) is None:
            return
        self.daemon = None
        self.figures["daemons that ended by themselves"] += 1
        began = time.monotonic() - _START
        recent = {name for name, at in self._given_back.items() if at > began}
        if not _EXCUSES & (self.open.keys() | recent):
            self.violation(f"the daemon ended by itself with {code}: {self._last_line()}")

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""

    def violation(self, message: str) -> None:
        self.violations.append(message)
        self.say(f"VIOLATION: {message}")

    # -- windows -----------------------------------------------------------------------------

    def during(self, name: str, steps: int, end: Callable[[], None]) -> None:
        self.open[name] = steps, end

    def pass_step(self) -> None:
        """End what has gone on for long enough."""
        for name, (steps, end) in list(self.open.items()):
            self.open[name] = steps - 1, end
            if steps <= 0:
                self.give_back(name)

    def give_back(self, *names: str) -> None:
        """End what goes on; all of it without names."""
        for name in names or list(self.open):
            if name in self.open:
                _, end = self.open.pop(name)
                self._given_back[name] = time.monotonic()
                end()
                self.say(f"  no longer: {name}")

    # -- disturbances ------------------------------------------------------------------------

    def push(self, chance: Random) -> str:
        self.repository.remember()
        told = [self.repository.change(chance) for _ in range(chance.choice((1, 1, 2, 3)))]
        self.give_back("away")
        self.push_files("; ".join(told))
        return f"push: {'; '.join(told)}"

    def push_files(self, message: str) -> str:
        work = self.site.work
        files = self.repository.files()
        for path in git(work, "ls-files").split():
            if path not in files:
                (work / path).unlink(missing_ok=True)
        for path, text in files.items():
            self.site.write(path, text, executable=path.endswith(".sh"))
        self.figures["pushes"] += 1
        return self.site.push(message)

    def push_source(self, chance: Random) -> str:
        version = chance.randrange(5)
        self.give_back("away")
        self._push_source(version)
        self.figures["pushes of code"] += 1
        return f"push of other code: {version}"

    def _push_source(self, version: int) -> None:
        source = self.root / "source"
        for name in ("load.sh", "train.sh"):
            (source / name).write_text(SCRIPT.format(version=f"other {version}"))
            (source / name).chmod(0o755)
        git(source, "add", "--all")
        git(source, "commit", "--quiet", "--allow-empty", "--message", f"Version {version}")
        git(source, "push", "--quiet", "origin", "main")

    def kill(self, chance: Random) -> str:
        steps = chance.choice((0, 0, 0, 1, 2))
        self.end(signal.SIGKILL)
        if steps:
            self.during("down", steps, self.start)
        return f"kill the daemon, down for {steps} steps"

    def ask_to_stop(self, chance: Random) -> str:
        steps = chance.choice((0, 0, 1))
        self.end(signal.SIGTERM)
        if steps:
            self.during("down", steps, self.start)
        return f"stop the daemon, down for {steps} steps"

    def pause(self, chance: Random) -> str:
        seconds = chance.uniform(0.2, 6)
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            self.daemon.send_signal(signal.SIGCONT)
        self.figures["pauses of the daemon"] += 1
        return f"freeze the daemon for {seconds:.1f} s"

    def once(self, chance: Random) -> str:
        number = chance.choice((signal.SIGTERM, signal.SIGKILL))
        self.end(number)
        code = self.run_once()
        return f"run --once after {number.name}: {code}"

    def run_once(self) -> int | None:
        """Sync once; returns its exit code, None if it did not end."""
        self.figures["calls of run --once"] += 1
        command = self.site.command("run", "--once", "--patience", "3s")
        began = time.monotonic()
        with (self.root / "once.log").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment())
            try:
                code = process.wait(ONCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self.violation(f"run --once had not ended after {ONCE:g} s; {list(self.open)}")
                return None
        self.figures[f"run --once that ended with {code}"] += 1
        seconds = int(time.monotonic() - began)
        self.figures["longest run --once, s"] = max(self.figures["longest run --once, s"], seconds)
        excused = code == 64 and "wrong configuration" in self.open
        if code not in ENDS and not excused:
            self.violation(f"run --once ended with {code}")
        return code

    def set_clock(self, chance: Random) -> str:
        seconds = chance.choice(self.clocks)
        if self.clock is None:
            return "no C compiler to set a clock"
        self.clock.set(seconds)
        self.figures["clocks set"] += 1
        return f"clock off by {seconds} s"

    def swap_configuration(self, chance: Random) -> str:
        wrong = chance.random() < 0.3
        way = chance.choice(("replace", "write", "link"))
        sections = self.swapped(chance)
        if wrong:
            text = chance.choice(("cluster: [", "lokal: {}", "", "status: {interval: soon}"))
            self.during("wrong configuration", chance.randrange(3), self.right_configuration)
            self._write_configuration(text, way)
        else:
            self.sections = sections
            self.give_back("wrong configuration")
            self.right_configuration(way)
        self.figures["configurations"] += 1
        return f"configuration ({way}): {text if wrong else sections}"

    def right_configuration(self, way: str = "replace") -> None:
        """Write the configuration that is wanted now."""
        file = self.root / "reconciler.yaml"
        before = file.read_bytes()
        self.site.configure(**self.sections)
        text = file.read_text()
        file.write_bytes(before)
        self._write_configuration(text, way)

    def _write_configuration(self, text: str, way: str) -> None:
        file = self.root / "reconciler.yaml"
        self._configurations += 1
        if way == "write":
            file.write_text(text)
            return
        new = self.root / f"configuration-{self._configurations}"
        new.write_text(text)
        if way == "link":
            link = self.root / "link"
            link.symlink_to(new.name)
            new = link
        new.replace(file)

    def take_away(self, chance: Random) -> str:
        if "away" not in self.open:
            hidden = [(self.site.remote, self.root / "manifests.away")]
            if chance.random() < 0.5:
                hidden.append((self.root / "source.git", self.root / "source.away"))

            def back() -> None:
                for path, away in hidden:
                    away.rename(path)

            for path, away in hidden:
                path.rename(away)
            self.during("away", chance.randrange(1, 4), back)
            self.figures["remotes away"] += 1
        return "take the remote away"

    def forget(self, _: Random) -> str:
        """Delete the status branch under a daemon that knows it."""
        if "away" in self.open or self.daemon is None or self.daemon.poll() is not None:
            return "no status to delete"
        self.finished.forget(uptime())
        git(self.site.remote, "update-ref", "-d", f"refs/heads/{self.site.branch}")
        self.figures["status branches deleted"] += 1
        return "delete the status branch"

    def fill_disk(self, chance: Random) -> str:
        left, steps = chance.choice((0, 16, 1024)) << 10, chance.randrange(1, 4)
        if not self.bounded:
            return "no disk to fill"
        if "full" in self.open:
            return "the disk is full"
        fill = self.disk / "fill"
        with fill.open("wb") as file:
            while (size := _room(self.disk) - left) > 0:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                    break
                except OSError:
                    continue  # others have just taken some of it
        self.during("full", steps, fill.unlink)
        self.figures["full disks"] += 1
        return f"fill the disk but for {left >> 10} KiB for {steps} steps"

    # -- a new installation ------------------------------------------------------------------

    def clone_remotes(self, folder: Path) -> None:
        """The same repositories in another place, without statuses."""
        folder.mkdir()
        for path in (self.site.remote, self.root / "source.git"):
            command = ["clone", "--quiet", "--bare", "--single-branch", "--branch", "main"]
            git(folder, *command, str(path), str(folder / path.name))

    def ask_for_everything(self, token: str) -> None:
        self.calms += 1
        self.repository.ask_for_everything(token)

    def statuses(self) -> dict[str, Any]:
        return self.site.statuses()


def _room(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize
