"""The controllers and nodes of a cluster, the registry and the buckets.

A Job gets a pod, a pod a node, and its command runs there until it ends, is ended, or its node is
lost. As the wrapper in a pod does, a run whose result is there ends at once, and one whose inputs
are gone ends as ``ArtifactLost``. A node that is not heard of goes on; what it has to say waits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.simulator.api_server import ApiServer, Object
from tests.simulator.bucket import Bucket
from tests.simulator.collection_jobs import CollectionJobs
from tests.simulator.images import Images, reference
from tests.simulator.manifests import accuracy, tested
from tests.simulator.objects import (
    GROUP,
    JOB_NAME,
    JOB_UID,
    exit_code,
    is_disrupted,
    is_of_task,
    is_over,
    label,
    lineage_of_pod,
    lineage_text,
    output,
    over,
    params,
)

#: The exit code of the wrapper where the command is not to blame.
INFRASTRUCTURE = 210
#: Failures of a key by chance between two calms: a run is given up after ten.
MOST_FAULTS = 6


@dataclass
class Cluster:
    """What makes runs of Jobs. ``images`` are those that were built; artifacts are in ``bucket``.

    ``lost`` are those that were deleted once, some of which are there again; ``measured`` has the
    metrics of trainings. ``started`` is called with the pod whenever a command begins, ``made``
    whenever one has left an artifact, and ``found`` where that was there already.
    """

    server: ApiServer
    bucket: Bucket
    chance: Random
    nodes: tuple[str, ...] = ("node-1", "node-2", "node-3")
    images: Images = field(default_factory=Images)
    lost: set[str] = field(default_factory=set)
    running: dict[str, Object] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    started: Callable[[Object], None] = lambda _: None
    made: Callable[[Object], None] = lambda _: None
    found: Callable[[Object], None] = lambda _: None
    ended: Counter[str] = field(default_factory=Counter)
    measured: dict[str, float] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    _unsaid: dict[str, Object] = field(default_factory=dict)
    _going: set[str] = field(default_factory=set)
    _pods: int = 0

    def __post_init__(self) -> None:
        self.collections = CollectionJobs(self.server, self.bucket, self.chance)
        self.collections.ended = lambda pod: self._say(pod, 0, {"state": "complete"})

    def changed(self, event: str, job: Object) -> None:
        """Take note of a Job that was created or deleted."""
        if event == "ADDED" and label(job, "task"):
            self._soon(2.0, self._make_pod, job["metadata"]["uid"])
        elif event == "MODIFIED" and "deletionTimestamp" in job["metadata"]:
            uid = job["metadata"]["uid"]
            if uid not in self._going:
                self._going.add(uid)
                for pod in self.pods_of(job):
                    self._soon(3.0, self.end_pod, pod)
                self._soon(3.0, self._finalize, job)
        elif event == "DELETED":
            for pod in self.pods_of(job):
                self._soon(3.0, self.end_pod, pod)

    def _finalize(self, job: Object) -> None:
        """Remove a Job whose pods were to go first."""
        if self.pods_of(job):
            self._soon(3.0, self._finalize, job)
        else:
            self.server.remove("jobs", job)

    # -- the Job controller ------------------------------------------------------------------

    def pods_of(self, job: Object) -> list[Object]:
        uid = job["metadata"]["uid"]
        return [p for p in self.server.of("pods") if p["metadata"]["labels"][JOB_UID] == uid]

    def _job(self, uid: str) -> Object | None:
        return next((j for j in self.server.of("jobs") if j["metadata"]["uid"] == uid), None)

    def _make_pod(self, uid: str) -> None:
        job = self._job(uid)
        if job is None or over(job) or any(not is_over(pod) for pod in self.pods_of(job)):
            return
        if "deletionTimestamp" in job["metadata"]:
            return
        self._pods += 1
        template, meta = job["spec"]["template"], job["metadata"]
        own = {JOB_NAME: meta["name"], JOB_UID: uid}
        pod: Object = {
            "metadata": {
                "name": f"{meta['name']}-{self._pods}",
                "namespace": meta["namespace"],
                "labels": {**template["metadata"]["labels"], **own},
                "annotations": {
                    **template["metadata"].get("annotations", {}),
                    f"{GROUP}/lineage": lineage_text(template),
                },
            },
            "spec": {"nodeName": self.chance.choice(self.nodes)},
            "status": {"phase": "Pending", "startTime": self.server.time()},
        }
        self.server.put("pods", pod)
        status = job.setdefault("status", {})
        status["active"] = 1
        status.setdefault("startTime", self.server.time())
        self.server.put("jobs", job)
        self._soon(4.0, self._run, pod)

    def _count(self, uid: str) -> None:
        """Decide what becomes of a Job, by its pods."""
        job = self._job(uid)
        if job is None or over(job):
            return
        pods = self.pods_of(job)
        if any(not is_over(pod) for pod in pods):
            return
        status = job["status"]
        status["active"] = 0
        failed = [pod for pod in pods if pod["status"]["phase"] == "Failed"]
        status["failed"] = max(len(failed), status.get("failed", 0), 1)
        if any(pod["status"]["phase"] == "Succeeded" for pod in pods):
            status["completionTime"] = self.server.time()
            self._end_job(job, "Complete", "", "")
        elif any(is_disrupted(pod) for pod in failed):
            said = "Pod has condition DisruptionTarget matching FailJob rule at index 0"
            self._end_job(job, "Failed", "PodFailurePolicy", said)
        elif any(exit_code(pod) == INFRASTRUCTURE for pod in failed):
            said = f"failed with exit code {INFRASTRUCTURE} matching FailJob rule at index 1"
            self._end_job(job, "Failed", "PodFailurePolicy", said)
        elif status["failed"] > job["spec"]["backoffLimit"]:
            said = "Job has reached the specified backoff limit"
            self._end_job(job, "Failed", "BackoffLimitExceeded", said)
        else:
            self.server.put("jobs", job)
            self._soon(20.0, self._make_pod, uid)

    def _end_job(self, job: Object, kind: str, reason: str, message: str) -> None:
        condition = {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": self.server.time(),
        }
        job["status"]["conditions"] = [condition]
        self.ended[kind] += 1
        self.server.put("jobs", job)

    # -- nodes -------------------------------------------------------------------------------

    def _run(self, pod: Object) -> None:
        if not self._is_there(pod) or is_over(pod) or "deletionTimestamp" in pod["metadata"]:
            return
        if pod["spec"]["nodeName"] in self.silent:
            self._soon(30.0, self._run, pod)
            return
        uid = pod["metadata"]["uid"]
        if not is_of_task(pod):
            job = self._job(pod["metadata"]["labels"][JOB_UID])
            if job is not None:
                pod["status"]["phase"] = "Running"
                self.server.put("pods", pod)
                self.collections.begin(job, pod)
        elif self.has(output(pod)):
            self.found(pod)
            self._say(pod, 0, self._completion(pod))
        elif lost := self._lost_input(pod):
            told = {"class": "infrastructure", "reason": "ArtifactLost", "input": lost}
            self._say(pod, INFRASTRUCTURE, {"state": "failed", "message": "it is gone", **told})
        else:
            began = self.server.time()
            pod["status"]["phase"] = "Running"
            pod["status"]["conditions"] = [
                {"type": "Ready", "status": "True"},
                {"type": "ContainersReady", "status": "True"},
            ]
            pod["status"]["containerStatuses"] = [
                {"name": "main", "state": {"running": {"startedAt": began}}}
            ]
            self.started(pod)
            self.running[uid] = pod
            self.server.put("pods", pod)
            longest = self.chance.choice((2.0, 20.0, 200.0))
            self._soon(longest, self._finish, pod)

    def _finish(self, pod: Object) -> None:
        """Let a command end, unless it was ended before."""
        if self.running.pop(pod["metadata"]["uid"], None) is None:
            return
        if params(pod).get("fail"):
            told = {"class": "command", "exitCode": 3, "attempt": 1, "reason": "CommandFailed"}
            self._say(pod, 3, {"state": "failed", "message": "told to fail", **told})
            return
        made = output(pod)
        if label(pod, "task") == "build":
            self.images.add(made)
        else:
            self.bucket.make(made, label(pod, "key"), lineage_of_pod(pod), self._metrics(pod))
            self.made(pod)
        self._say(pod, 0, self._completion(pod))

    def image_of(self, pod: Object) -> str:
        """Return the image that a pod's command runs in."""
        return str(lineage_of_pod(pod).get("image"))

    def has(self, output: str) -> bool:
        """Return whether the result of a run is there."""
        return output in self.images or self.bucket.is_complete(output)

    def _metrics(self, pod: Object) -> dict[str, float]:
        """The metrics that a command writes, which its inputs decide."""
        given = params(pod)
        if label(pod, "task") == "evaluate":
            artifact = lineage_of_pod(pod)["artifact"]["url"]
            return {"accuracy": tested(self.measured[artifact], given["test"])}
        if "quality" in given:
            self.measured[output(pod)] = accuracy(given["quality"], given.get("lr", 0))
            return {"accuracy": self.measured[output(pod)]}
        return {}

    def _completion(self, pod: Object) -> dict[str, Any]:
        made = output(pod)
        if label(pod, "task") != "build":
            return {"state": "complete", "metrics": self.bucket.metrics(made)}
        return {"state": "complete", "image": reference(made)}

    def _lost_input(self, pod: Object) -> str:
        lineage = lineage_of_pod(pod)
        for name in ("base", "dataset", "artifact"):
            given = lineage.get(name)
            if given and not self.bucket.is_complete(given["url"]):
                return name
        return ""

    def _say(self, pod: Object, code: int, message: dict[str, Any], **status: Any) -> None:
        """Report how a pod has ended, once its node is heard of."""
        at = self.server.time()
        state = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": json.dumps({"v": 1, **message}),
            "startedAt": at,
            "finishedAt": at,
        }
        ended = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "main", "state": {"terminated": state}}],
            **status,
        }
        if pod["spec"]["nodeName"] in self.silent:
            self._unsaid[pod["metadata"]["uid"]] = ended
        else:
            self._tell(pod, ended)

    def _tell(self, pod: Object, status: Object) -> None:
        if self._is_there(pod) and not is_over(pod):
            conditions = pod["status"].get("conditions", [])
            kept = [c for c in conditions if c["type"] == "DisruptionTarget"]
            pod["status"] = {**pod["status"], "conditions": kept, **status}
            self.server.put("pods", pod)
        self._soon(2.0, self._count, pod["metadata"]["labels"][JOB_UID])

    def end_pod(self, pod: Object, *, disrupted: bool = False) -> None:
        """Delete a pod: its command gets some seconds to end."""
        if not self._is_there(pod):
            return
        if is_over(pod):
            self.server.remove("pods", pod)
            return
        if disrupted:
            condition = {"type": "DisruptionTarget", "status": "True", "message": "evicted"}
            pod["status"].setdefault("conditions", []).append(condition)
        pod["metadata"]["deletionTimestamp"] = self.server.time()
        self.server.put("pods", pod)
        self._soon(20.0, self._kill, pod)

    def _kill(self, pod: Object) -> None:
        if pod["spec"]["nodeName"] in self.silent:
            self._soon(30.0, self._kill, pod)
            return
        if self._stop(pod):
            self._say(pod, 143, {"state": "began", "attempt": 1})
        elif not is_over(pod):
            self._tell(pod, {"phase": "Failed", "containerStatuses": []})
        # The Job controller has seen it by then: a finalizer holds it.
        self.server.loop.later(self.chance.uniform(3.0, 8.0), self.server.remove, "pods", pod)

    def _stop(self, pod: Object) -> bool:
        """End a pod's command; returns whether there was one."""
        uid = pod["metadata"]["uid"]
        ran = self.running.pop(uid, None) or self.collections.running.pop(uid, None)
        return ran is not None

    def silence(self, node: str) -> None:
        """Lose the way to a node; what runs there goes on."""
        self.silent.add(node)
        self.server.loop.later(40.0, self._mark_silent, node)

    def _mark_silent(self, node: str) -> None:
        if node not in self.silent:
            return
        for pod in self.on(node):
            if pod["status"]["phase"] == "Running":
                pod["status"]["conditions"] = [
                    {"type": "Ready", "status": "False"},
                    {"type": "ContainersReady", "status": "True"},
                ]
                self.server.put("pods", pod)

    def hear(self, node: str) -> None:
        """Find the way to a node again."""
        self.silent.discard(node)
        for pod in self.on(node):
            ended = self._unsaid.pop(pod["metadata"]["uid"], None)
            if ended is not None:
                self._tell(pod, ended)
            elif pod["status"]["phase"] == "Running":
                pod["status"]["conditions"] = [
                    {"type": "Ready", "status": "True"},
                    {"type": "ContainersReady", "status": "True"},
                ]
                self.server.put("pods", pod)

    def remove_node(self, node: str) -> None:
        """Lose a node for good, with all that runs there; another takes its name."""
        self.silent.discard(node)
        for pod in self.on(node):
            self._stop(pod)
            self._unsaid.pop(pod["metadata"]["uid"], None)
            condition = {"type": "DisruptionTarget", "status": "True", "message": "node is gone"}
            pod["status"] |= {"phase": "Failed", "conditions": [condition]}
            self.server.put("pods", pod)
            self._soon(2.0, self._count, pod["metadata"]["labels"][JOB_UID])
            self.server.loop.later(self.chance.uniform(3.0, 8.0), self.server.remove, "pods", pod)

    def fail(self, pod: Object) -> None:
        """Let a command fail that is not to blame."""
        self.running.pop(pod["metadata"]["uid"], None)
        told = {"class": "infrastructure", "reason": "BucketFailed", "exitCode": 1, "attempt": 1}
        self._say(pod, INFRASTRUCTURE, {"state": "failed", "message": "the bucket is away", **told})

    def lose(self, result: str) -> None:
        """Delete what a run has made."""
        self.bucket.lose(result)
        self.lost.add(result)

    def blames(self, pod: Object) -> bool:
        """Return whether a pod may fail by chance once more."""
        key = label(pod, "key") or pod["metadata"]["name"]
        self.faults[key] += 1
        return self.faults[key] <= MOST_FAULTS

    def on(self, node: str) -> list[Object]:
        pods = self.server.of("pods")
        return [pod for pod in pods if pod["spec"]["nodeName"] == node and not is_over(pod)]

    def _is_there(self, pod: Object) -> bool:
        meta = pod["metadata"]
        return self.server.objects.get(("pods", meta["namespace"], meta["name"])) is pod

    def _soon(self, longest: float, callback: Callable[..., object], *args: object) -> None:
        self.server.loop.later(self.chance.uniform(0.05, longest), callback, *args)
