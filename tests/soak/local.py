"""A soak of the local engine: its artifacts, environments, runs and its disk as well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import psutil

from reconciler.engines.local.marker import read_marker
from tests.e2e.site import Site
from tests.soak.accounts import MARKER, starts, uptime
from tests.soak.arena import BUCKETS, ONCE, Arena, Disturbance, named_buckets
from tests.soak.machine import StatusBranch, fresh_site, mount, remove_quietly
from tests.soak.repository import Repository, local_manifests

_SUPERVISOR = "reconciler.engines.local.supervisor"


class LocalSite(Site):
    """One whose state and buckets are on a disk of their own."""

    def configure(self, **sections: Any) -> None:
        disk = self.root / "disk"
        default: dict[str, Any] = {
            "buckets": named_buckets(disk / BUCKETS[0]),
            "local": {"slots": 4, "root": str(disk / "state")},
            # Long enough that what must be looked up at a head is not looked up by chance.
            "sources": {"interval": "10m"},
        }
        for name, section in sections.items():
            default[name] = {**default.get(name, {}), **section}
        super().configure(**default)


class LocalArena(Arena):
    """On a machine where one GPU is said to be."""

    clocks = (0, 0, 5, -5, 3600, -3600, 86400, -86400 * 30, 315_000_000)

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        super().__init__(root, say)
        self.disk = root / "disk"
        self.disk.mkdir()
        self.bounded = mount(self.disk, say)
        self.make_buckets(self.disk)
        self.site = LocalSite(root)
        self.repository = Repository.of(local_manifests(), str(self.site.ledger))
        self.push_files("Begin")
        self._checked = 0
        self._ended = threading.Event()
        self._watch = threading.Thread(
            target=self.finished.notice, args=(self.buckets, self._ended)
        )
        self._watch.start()

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "CUDA_VISIBLE_DEVICES": "0"}

    def close(self) -> None:
        super().close()
        self._ended.set()
        self._watch.join()
        for process in self.processes():
            process.kill()
        self.unmount()

    def processes(self) -> list[psutil.Process]:
        """What still runs of this site, but this process."""
        found = []
        for process in psutil.process_iter(["cmdline", "name"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self.root) in words and process.pid not in (os.getpid(), os.getppid()):
                found.append(process)
        return [p for p in found if "tests.soak" not in " ".join(p.info["cmdline"])]

    def leftovers(self) -> list[str]:
        _, alive = psutil.wait_procs(self.processes(), timeout=10)
        return [" ".join(process.info["cmdline"]) for process in alive]

    # -- disturbances ------------------------------------------------------------------------

    def disturbances(self) -> list[tuple[int, Disturbance]]:
        return [
            (24, self.push),
            (4, self.push_source),
            (8, self.kill),
            (4, self.ask_to_stop),
            (4, self.once),
            (2, self.pause),
            (8, self.damage),
            (3, self.delete_environment),
            (2, self.delete_images),
            (3, self.delete_run),
            (1, self.delete_state),
            (5, self.kill_run),
            (6, self.set_clock),
            (6, self.swap_configuration),
            (4, self.fill_disk),
            (3, self.take_away),
            (1, self.forget),
        ]

    def own_sections(self, chance: Random) -> list[dict[str, Any]]:
        return [{"local": {"slots": chance.choice((1, 2, 6))}}]

    def damage(self, chance: Random) -> str:
        draw, way = chance.random(), chance.choice(("folder", "marker", "file", "cut", "object"))
        found = self.artifacts()
        if not found:
            return "no artifact to damage"
        chosen = found[int(draw * len(found))]
        all_of_it = [each for each in found if each.parent == chosen.parent]
        for artifact in all_of_it if way == "object" else [chosen]:
            self.finished.damaged(artifact)
            self._damage(artifact, way)
        self.figures["artifacts damaged"] += 1
        return f"damage {'/'.join(chosen.parts[-3:])} ({way})"

    def _damage(self, artifact: Path, way: str) -> None:
        artifact.chmod(0o755)
        weights = artifact / "weights"
        if way in ("folder", "object"):
            remove_quietly(artifact)
        elif way == "marker":
            (artifact / MARKER).unlink(missing_ok=True)
        elif way == "file":
            weights.unlink(missing_ok=True)
        elif weights.exists():
            os.truncate(weights, 3)

    def delete_environment(self, _: Random) -> str:
        remove_quietly(self.disk / "state/envs")
        self.figures["environments deleted"] += 1
        return "delete the environments"

    def delete_images(self, _: Random) -> str:
        remove_quietly(self.disk / "state/images")
        self.figures["images deleted"] += 1
        return "delete the images"

    def delete_run(self, chance: Random) -> str:
        draw = chance.random()
        runs = sorted((self.disk / "state/runs").glob("r-*"))
        if not runs:
            return "no run to delete"
        chosen = runs[int(draw * len(runs))]
        remove_quietly(chosen)
        self.figures["runs deleted"] += 1
        return f"delete the run {chosen.name}"

    def delete_state(self, _: Random) -> str:
        """Lose the local root, as with another machine: nothing of it is left running."""
        self.end(signal.SIGKILL)
        self.kill_all()
        remove_quietly(self.disk / "state")
        self.figures["states deleted"] += 1
        return "delete the state"

    def kill_all(self) -> None:
        for _ in range(100):
            processes = self.processes()
            for process in processes:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            if not processes:
                return
            psutil.wait_procs(processes, timeout=1)

    def kill_run(self, chance: Random) -> str:
        draw = chance.random()
        # What stands between a supervisor and its command has the same arguments.
        found = [
            p
            for p in self.processes()
            if _SUPERVISOR in p.info["cmdline"] and not p.info["name"].startswith("run-")
        ]
        if not found:
            return "no run to kill"
        chosen = found[int(draw * len(found))]
        try:
            chosen.kill()
        except psutil.NoSuchProcess:
            return "a run that has just ended"
        self.figures["supervisors killed"] += 1
        return f"kill the supervisor of {Path(chosen.info['cmdline'][-1]).name}"

    # -- what must hold ----------------------------------------------------------------------

    def expected(self) -> dict[str, str]:
        special = {"bad": "Failed", "gpu2": "Waiting", "image": "Waiting"}
        return {
            each.title: special.get(name, "Ready")
            for name, each in self.repository.objects.items()
            if each.present
        }

    def check_artifacts(self, statuses: Mapping[str, Any]) -> None:
        for name, status in statuses.items():
            if status["phase"] == "Ready":
                self._check_artifact(name, status["artifact"])
        begun = list(starts(self.site.ledger))
        new, self._checked = begun[self._checked :], len(begun)
        for start in new:
            if self.finished.again(start):
                self.violation(
                    f"{start.name} began attempt {start.attempt} of the finished {start.folder}"
                )
        for log in (self.disk / "state/runs").glob("*/supervisor.log"):
            if text := log.read_text(errors="replace").strip():
                self.violation(f"the supervisor of {log.parent.name}: {text[-400:]}")

    def _check_artifact(self, name: str, artifact: Mapping[str, Any]) -> None:
        key, folder = artifact["key"], Path(artifact["url"].removeprefix("file://"))
        marker = read_marker(folder, folder.name)
        if marker is None:
            self.violation(f"{name} is Ready without a marker in {folder}")
            return
        if not folder.name.startswith(key) and name != "prod":
            self.violation(f"{name} is Ready as {key}, and its artifact is {folder}")
        lines = (folder / "weights").read_text().splitlines()
        base: Any = json.loads((folder / "completed.json").read_text()).get("base")
        wanted = [f"key {folder.name}", *([f"base key {base['key']}"] if base else [])]
        if missing := [line for line in wanted if line not in lines]:
            self.violation(f"the artifact of {name} lacks {missing}")

    def fresh_statuses(self) -> Mapping[str, Any]:
        folder = self.root / f"fresh-{int(uptime())}"
        self.clone_remotes(folder)
        config = {
            "repository": {"url": "./manifests.git"},
            "local": {"slots": 6},
            "server": {"address": ""},
        }
        kept = self.site.ledger.read_bytes()
        with (self.root / "fresh.log").open("a") as log:
            subprocess.run(
                [*fresh_site(folder, config), "--patience", "3s"],
                stdout=log, stderr=log, timeout=ONCE, check=False, env=self.environment(),
            )  # fmt: skip
        self.site.ledger.write_bytes(kept)
        statuses = Site.statuses(StatusBranch(folder / "manifests.git", self.site.branch))  # type: ignore[arg-type]
        remove_quietly(folder)
        return statuses
