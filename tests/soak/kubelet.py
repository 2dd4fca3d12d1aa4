"""The end of every pod of a namespace that has no node, and the bucket that pods would write.

It says what a kubelet would, and does what the wrapper in a pod does: a run whose marker is there
ends at once, one whose inputs have none ends as ``ArtifactLost``, any other takes a while and
leaves a marker, or fails where its params ask for that.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.api import ApiError
from tests.cluster.fixtures import Namespace
from tests.engines.kubernetes.orders import running, terminated
from tests.soak.accounts import MARKER, FinishedKeys, Start, uptime

#: The exit code of the wrapper where the command is not to blame.
INFRASTRUCTURE = 210
_GROUP = "substratus.ai"


@dataclass
class _Work:
    """A pod that runs its command until ``ends``."""

    ends: float
    pod: Any


@dataclass
class Kubelet:
    """Pods of builds push to ``images``, all others write ``finished`` artifacts.

    What the daemon of another ``instance`` has done is in no account.
    """

    namespace: Namespace
    instance: str
    finished: FinishedKeys
    started: list[Start] = field(default_factory=list)
    images: set[str] = field(default_factory=set)
    ended: int = 0
    _work: dict[str, _Work] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Serve pods until told to stop."""
        while not self._stop.wait(0.1):
            try:
                pods = list(self.namespace.cluster.api.items(self.namespace.pods))
            except (ApiError, OSError):
                continue  # the API server is away
            for pod in pods:
                self._serve(pod)

    def stop(self) -> None:
        self._stop.set()

    def _serve(self, pod: Any) -> None:
        uid, phase = pod["metadata"]["uid"], pod["status"].get("phase")
        if uid in self._done or "deletionTimestamp" in pod["metadata"]:
            return
        if phase in ("Succeeded", "Failed"):
            self._done.add(uid)
        elif uid in self._work:
            if time.monotonic() >= self._work[uid].ends:
                self._end(pod)
        else:
            self._begin(pod)

    def _begin(self, pod: Any) -> None:
        uid, output, task = pod["metadata"]["uid"], _output(pod), _label(pod, "task")
        if task == "inventory":
            self._say(pod, terminated(1, message="no such bucket"))
            return
        if self._complete(output, task):
            self._say(pod, terminated(0, message=self._completion(output, task)))
            return
        if lost := _lost_input(pod):
            failed = {"v": 1, "state": "failed", "class": "infrastructure"}
            told = failed | {"reason": "ArtifactLost", "input": lost, "message": "it is gone"}
            self._say(pod, terminated(INFRASTRUCTURE, message=json.dumps(told)))
            return
        begun = uptime()
        if self._say(pod, running()):
            seconds = float(_params(pod).get("seconds", 0.2))
            self._work[uid] = _Work(time.monotonic() + seconds, pod)
            if task != "build" and self._counts(pod):
                self.started.append(Start(begun, _label(pod, "name"), folder(output), 0))

    def _end(self, pod: Any) -> None:
        output, task = _output(pod), _label(pod, "task")
        del self._work[pod["metadata"]["uid"]]
        if _params(pod).get("fail"):
            failed = {"v": 1, "state": "failed", "class": "command", "exitCode": 3, "attempt": 1}
            told = failed | {"reason": "CommandFailed", "message": "told to fail"}
            self._say(pod, terminated(3, message=json.dumps(told)))
            return
        self._finish(pod, output, task)
        self._say(pod, terminated(0, message=self._completion(output, task)))

    def _counts(self, pod: Any) -> bool:
        return _label(pod, "instance") == self.instance

    def _complete(self, output: str, task: str) -> bool:
        return output in self.images if task == "build" else (folder(output) / MARKER).exists()

    def _finish(self, pod: Any, output: str, task: str) -> None:
        if task == "build":
            self.images.add(output)
            return
        place = folder(output)
        place.mkdir(parents=True, exist_ok=True)
        (place / MARKER).write_text(json.dumps({"key": _label(pod, "key")} | _lineage(pod)))
        if self._counts(pod):
            self.finished.finish(place, uptime())

    def _completion(self, output: str, task: str) -> str:
        message: dict[str, Any] = {"v": 1, "state": "complete"}
        if task == "build":
            digest = hashlib.sha256(output.encode()).hexdigest()
            message["image"] = f"{output.rpartition(':')[0]}@sha256:{digest}"
        return json.dumps(message)

    def _say(self, pod: Any, status: Mapping[str, Any]) -> bool:
        """Write a pod's status; false if it is gone, or nobody takes it."""
        path = f"{self.namespace.pods}/{pod['metadata']['name']}/status"
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        try:
            self.namespace.cluster.api.request("PATCH", path, body)
        except (ApiError, OSError):
            return False
        if status["phase"] != "Running":
            self._done.add(pod["metadata"]["uid"])
            self.ended += 1
        return True


def folder(output: str) -> Path:
    """The directory of an artifact's URL."""
    return Path(output.removeprefix("file://"))


def _label(pod: Any, name: str) -> str:
    return str(pod["metadata"]["labels"].get(f"{_GROUP}/{name}", ""))


def _output(pod: Any) -> str:
    return str(pod["metadata"].get("annotations", {}).get(f"{_GROUP}/output", ""))


def _params(pod: Any) -> dict[str, Any]:
    text = pod["metadata"].get("annotations", {}).get(f"{_GROUP}/params", "{}")
    found: dict[str, Any] = json.loads(text)
    return found


def _lineage(pod: Any) -> dict[str, Any]:
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", ()):
            if variable["name"] == "RECONCILER_LINEAGE":
                found: dict[str, Any] = json.loads("{" + variable["value"] + "}")
                return found
    return {}


def _lost_input(pod: Any) -> str:
    """The name of an input whose artifact has no marker."""
    lineage = _lineage(pod)
    for name in ("base", "dataset"):
        given = lineage.get(name)
        if given and not (folder(given["url"]) / MARKER).exists():
            return name
    return ""
