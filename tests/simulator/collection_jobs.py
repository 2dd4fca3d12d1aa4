"""Jobs that list and collect artifacts in a mounted bucket, as ``collection.sh`` does.

A command carries out one order after the other, and may be ended, or lost with its node, between
any two. Now and then its bucket is not mounted, and it sees an empty folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from reconciler.engines.local.artifact_places import HIDDEN_MARKER, ArtifactState
from reconciler.engines.local.marker import MARKER
from tests.simulator.api_server import ApiServer, Object
from tests.simulator.loop import EPOCH
from tests.simulator.site import CLUSTER, MOUNTED

if TYPE_CHECKING:
    from tests.simulator.bucket import Bucket

#: The share of commands whose bucket is not mounted, and of logs that are cut off.
_UNMOUNTED, _CUT = 0.05, 0.05
_REMOVING = ArtifactState.REMOVING.value
_STATES = {MARKER: "complete", HIDDEN_MARKER: "hidden", _REMOVING: "removing"}


@dataclass
class CollectionJobs:
    """The commands of these Jobs. ``done`` is called with what one has done to an artifact."""

    server: ApiServer
    bucket: Bucket
    chance: Random
    ended: Callable[[Object], None] = lambda _: None
    done: Callable[[str, str], None] = lambda *_: None
    running: dict[str, Object] = field(default_factory=dict)
    _logs: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def begin(self, job: Object, pod: Object) -> None:
        """Start a command."""
        self.running[pod["metadata"]["uid"]] = pod
        folder = part_of(job)
        if self.chance.random() < _UNMOUNTED:
            folder = ""
        states = self._states(folder)
        given = orders_of(job)
        if given:
            if states:
                self.bucket.parts.add(folder)
            self._soon(3.0, self._carry_out, pod, folder, states, given, expiry_of(job), [])
        else:
            self._soon(3.0, self._end, pod, folder, len(states), self._facts(folder, states))

    def log(self, namespace: str, name: str) -> bytes:
        """What a pod has printed, or the begin of that."""
        text = self._logs.get((namespace, name), b"")
        return text[: len(text) // 2] if self.chance.random() < _CUT else text

    def _states(self, folder: str) -> dict[str, str]:
        """The names of the markers below a part of the bucket, by the paths of artifacts."""
        found = {}
        for url, names in sorted(self.bucket.folders.items()):
            marker = next((name for name in _STATES if name in names), None)
            if folder and url.startswith(f"{folder}/") and marker is not None:
                found[url.removeprefix(f"{folder}/")] = marker
        return found

    def _facts(self, folder: str, states: dict[str, str]) -> list[str]:
        lines = []
        for path, marker in states.items():
            said = self.bucket.lineage(f"{folder}/{path}", marker)
            size = sum(each["size"] for each in said.get("files", ()))
            keys = (said.get(name, {}).get("key", "-") for name in ("base", "dataset", "artifact"))
            lines.append(f"{path} {_STATES[marker]} {size} {' '.join(keys)}")
        return lines

    def _carry_out(
        self,
        pod: Object,
        folder: str,
        states: dict[str, str],
        left: list[tuple[str, str]],
        expiry: float,
        lines: list[str],
    ) -> None:
        if pod["metadata"]["uid"] not in self.running:
            return
        (kind, path), *left = left
        freed = 0
        if path not in states:
            outcome = "gone"
        elif EPOCH.timestamp() + self.server.loop.now >= expiry:
            outcome = "late"
        else:
            outcome, freed = self._one(kind, f"{folder}/{path}", states[path])
        lines.append(f"{path} {outcome} {freed}")
        if left:
            pause = self.chance.choice((0.1, 5.0))
            self._soon(pause, self._carry_out, pod, folder, states, left, expiry, lines)
        else:
            self._soon(1.0, self._end, pod, folder, len(states), lines)

    def _one(self, kind: str, url: str, state: str) -> tuple[str, int]:
        """Carry out an order; returns the state, and the bytes that were freed."""
        moves = {
            ("hide", MARKER): (HIDDEN_MARKER, "hidden"),
            ("restore", HIDDEN_MARKER): (MARKER, "complete"),
            ("remove", HIDDEN_MARKER): (_REMOVING, "removed"),
        }
        to, outcome = moves.get((kind, state), (None, ""))
        if to is not None and not self.bucket.move(url, state, to):
            return "failed", 0
        if to is not None:
            self.done(url, outcome)
        if outcome == "removed" or (not outcome and kind != "hide" and state == _REMOVING):
            names = self.bucket.folders.pop(url, {})
            return "removed", sum(map(len, names.values()))
        return outcome or ("hidden" if kind == "hide" else "complete"), 0

    def _end(self, pod: Object, folder: str, proofs: int, lines: list[str]) -> None:
        if self.running.pop(pod["metadata"]["uid"], None) is None:
            return
        left = int(folder in self.bucket.parts)
        text = "".join(f"{line}\n" for line in (*lines, f"end {len(lines)} {proofs + left}"))
        self._logs[pod["metadata"]["namespace"], pod["metadata"]["name"]] = text.encode()
        self.ended(pod)

    def _soon(self, longest: float, callback: Callable[..., object], *args: object) -> None:
        self.server.loop.later(self.chance.uniform(0.05, longest), callback, *args)


def _env(job: Object, name: str) -> str:
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return next((str(each["value"]) for each in env if each["name"] == name), "")


def part_of(job: Object) -> str:
    """The part of the bucket that a Job mounts, which is that of its namespace."""
    return f"{MOUNTED}/clusters/{CLUSTER}/namespaces/{job['metadata']['namespace']}"


def orders_of(job: Object) -> list[tuple[str, str]]:
    """The kind and the path of each order of a Job; none if it only lists."""
    lines = _env(job, "RECONCILER_ORDERS").splitlines()
    return [(kind, path) for kind, _, path in (line.partition(" ") for line in lines)]


def expiry_of(job: Object) -> float:
    """The end of a Job's orders, in seconds of the epoch."""
    return float(_env(job, "RECONCILER_EXPIRES") or 0)
