"""Collections by Jobs, in buckets that pods alone can write.

The Job mounts a namespace's part of a bucket. Without orders it lists the artifacts there, as an
ordinary user who only reads; with orders it hides, restores and removes artifacts, a rename each
(``collection.sh``). There is one Job at a time for each part: its name is one, and the next is
created once the pods of the last are gone. So nothing is under way any more where a Job has ended,
or was deleted. A Job that starts late refuses its orders.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec
import structlog

from reconciler.engine import (
    MOST_ORDERS,
    ArtifactOrder,
    EngineError,
    JobEndedError,
    OrderKind,
    OrderOutcome,
    OrderResult,
    PodRefusedError,
    Wanted,
)
from reconciler.engines.kubernetes import wrapper
from reconciler.engines.kubernetes.api_errors import ApiConflict, NotFound
from reconciler.engines.kubernetes.api_types import Job
from reconciler.engines.kubernetes.bucket_job import COLLECT, bucket_job
from reconciler.engines.kubernetes.buckets.interface import Ability
from reconciler.engines.kubernetes.buckets.registry import DRIVERS
from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.command_pod import mount_at
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.informer import JOBS
from reconciler.engines.kubernetes.inventory import Folder, folders
from reconciler.engines.kubernetes.job_output import JobOutput, failed
from reconciler.engines.kubernetes.pod_parts import CONTAINER, ApiObject, Fragment
from reconciler.engines.kubernetes.refused_pods import refusal
from reconciler.engines.local import ArtifactFacts, ArtifactState
from reconciler.types import TaskKey

log = structlog.get_logger(__name__)

#: Seconds from its creation in which a Job may begin an order, and is waited for.
PATIENCE = 600.0
#: Bytes of a log that are read. A kubelet keeps 10 MiB of one: some 40,000 artifacts.
_LONGEST = 16 << 20
_FOLDER = "/bucket"
_FILES = ("collection.sh", "wrapper.awk")
#: Files belong to the users of the images that wrote them, and folders may be theirs alone:
#: DAC_OVERRIDE changes what is in these, FOWNER removes from a folder with the sticky bit.
_CAPABILITIES = ("DAC_OVERRIDE", "FOWNER")
_KEY = re.compile(r"[0-9a-f]{40}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_OUTCOME = re.compile(rf"(\S+) ({'|'.join(OrderOutcome)}) ([0-9]{{1,18}})")
_CLOSED = "closed"
_NOTHING = "no artifact is in its folder; is the bucket mounted?"
_STATES = {
    "complete": ArtifactState.COMPLETE,
    "hidden": ArtifactState.HIDDEN,
    "removing": ArtifactState.REMOVING,
}

#: The orders of a Job by the artifact's path in its folder; none: it only lists.
Orders = Mapping[str, OrderKind]
RenderCollection = Callable[[Folder, Orders, float], list[ApiObject]]


def render_collection(
    folder: Folder, orders: Orders, settings: ClusterSettings, *, expires: float
) -> list[ApiObject]:
    """Render the Job and its volumes. Raises RenderError.

    ``expires`` is the end of its orders, in seconds of the epoch.
    """
    directory = settings.directory(
        COLLECT, folder.url, namespace=folder.namespace, read_only=not orders
    )
    mount = mount_at(directory, _FOLDER)
    install = wrapper.install_container(settings.images.wrapper, _FILES)
    fragment = (
        Fragment(init_containers=(install,), volumes=(wrapper.volume(),), mounts=(wrapper.mount(),))
        + mount.fragment
    )
    environment = {"RECONCILER_ARTIFACT": mount.path}
    if orders:
        environment["RECONCILER_ORDERS"] = "\n".join(f"{k} {path}" for path, k in orders.items())
        environment["RECONCILER_EXPIRES"] = f"{expires:.0f}"
    if mount.barrier is not None:
        environment["RECONCILER_RCLONE"] = mount.barrier
    restricted: ApiObject = {"securityContext": install["securityContext"]}
    security = dict(restricted["securityContext"])
    if orders and Ability.OWNERS in DRIVERS[directory.bucket.driver].can:
        del security["runAsNonRoot"]
        security |= {"runAsUser": 0, "runAsGroup": 0}
        security["capabilities"] = {"drop": ["ALL"], "add": [*_CAPABILITIES]}
    container = {
        "name": CONTAINER,
        "image": settings.images.wrapper,
        "command": [f"{wrapper.MOUNT}/busybox", "sh", f"{wrapper.MOUNT}/collection.sh"],
        "env": [
            {"name": name, "value": wrapper.literal(value)} for name, value in environment.items()
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": security,
        "volumeMounts": list(fragment.mounts),
    }
    return bucket_job(
        COLLECT,
        folder.url,
        folder.namespace,
        settings,
        container,
        fragment,
        deadline=PATIENCE,
        task=COLLECT,
    )


def read_artifacts(
    text: bytes, folder: Folder
) -> dict[TaskKey, ArtifactFacts | EngineError | None]:
    """Read the wanted artifacts of a list.

    Raises EngineError if it is not whole. None for one that is gone, which it is only where others
    are there, or were once collected: a bucket that was not mounted has none at all. An error for
    one in a folder that the Job's user may not open.
    """
    lines, proofs = _whole(text)
    said = dict(line.split(" ", 1) for line in lines)
    closed = {path for path, each in said.items() if each == _CLOSED}
    if not proofs and not closed:
        raise failed(_NOTHING)
    below = {above for path in closed for above in _above(path)}
    found: dict[TaskKey, ArtifactFacts | EngineError | None] = {}
    for path, item in folder.wanted.items():
        shut = next((each for each in (path, *_above(path)) if each in closed), None)
        if shut is not None or path in below:
            found[item.key] = failed(f"the user of its Job may not open {shut or path}")
        elif path in said:
            found[item.key] = _facts(said[path], path)
        else:
            found[item.key] = None if proofs else failed(_NOTHING)
    return found


def _above(path: str) -> Iterator[str]:
    """Yield the folders that a path is in."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _facts(said: str, path: str) -> ArtifactFacts | EngineError:
    words = said.split()
    if len(words) != 5 or words[0] not in _STATES or _NUMBER.fullmatch(words[1]) is None:
        return failed(f"the marker of {path} cannot be read")
    keys = [None if word == "-" else word for word in words[2:]]
    if any(key is not None and _KEY.fullmatch(key) is None for key in keys):
        return failed(f"the marker of {path} names an input that is no key")
    return ArtifactFacts(
        state=_STATES[words[0]],
        size=int(words[1]),
        inputs=tuple(TaskKey(key) for key in keys if key is not None),
        evaluated=TaskKey(keys[2]) if keys[2] is not None else None,
    )


def read_outcomes(text: bytes, folder: Folder) -> dict[TaskKey, OrderResult]:
    """Read the outcomes of orders.

    Raises EngineError if they are not all there. An artifact that is gone from a folder which may
    not be the bucket's counts as failed.
    """
    lines, proofs = _whole(text)
    found: dict[TaskKey, OrderResult] = {}
    for line in lines:
        match = _OUTCOME.fullmatch(line)
        if match is None:
            raise failed("its Job printed what is no outcome")
        path, outcome, freed = match.groups()
        if path in folder.wanted:
            result = OrderResult(OrderOutcome(outcome), int(freed))
            if result.outcome is OrderOutcome.GONE and not proofs:
                result = OrderResult(OrderOutcome.FAILED)
            found[folder.wanted[path].key] = result
    return found


def _whole(text: bytes) -> tuple[list[str], int]:
    """Return an output's lines, and the proofs that the bucket was mounted.

    Raises EngineError for one of which a part is missing: what is not in it is not gone.
    """
    lines = text.decode("utf-8", "replace").splitlines()
    words = lines.pop().split() if lines else []
    counts = [int(word) for word in words[1:] if _NUMBER.fullmatch(word) is not None]
    if words[:1] != ["end"] or len(counts) != 2 or counts[0] != len(lines):
        raise failed("its Job printed no whole list")
    if not all(line.count(" ") >= 1 for line in lines):
        raise failed("its Job printed what is no list")
    return lines, counts[1]


@dataclass(frozen=True, slots=True)
class ArtifactJobs:
    """Lists artifacts, and carries out orders on them, by Jobs.

    ``create`` creates an object unless it exists; ``watched`` raises EngineError for a namespace in
    which nothing is to be created.
    """

    api: Api
    render: RenderCollection
    create: Callable[[ApiObject], Awaitable[None]]
    watched: Callable[[str], object]

    async def list_artifacts(
        self, wanted: Iterable[Wanted]
    ) -> dict[TaskKey, ArtifactFacts | EngineError | None]:
        """Return the facts of artifacts; None if certainly gone, or an error."""
        found: dict[TaskKey, ArtifactFacts | EngineError | None] = {}
        for folder in folders(wanted):
            try:
                found |= read_artifacts(await self._output(folder, {}), folder)
            except (EngineError, TimeoutError) as error:
                found |= dict.fromkeys(_keys(folder), _explained(folder, error))
        return found

    async def carry_out(
        self, orders: Sequence[ArtifactOrder]
    ) -> dict[TaskKey, OrderResult | EngineError]:
        """Return the outcome of each order, or an error.

        After an error, or a cancellation, what was done of it is unknown. Nothing more is done once
        the next Job of that part of the bucket is created.
        """
        kinds = {order.artifact.key: order.kind for order in orders}
        found: dict[TaskKey, OrderResult | EngineError] = {}
        for folder in _bounded(folders(order.artifact for order in orders)):
            steps = {path: kinds[item.key] for path, item in folder.wanted.items()}
            try:
                found |= read_outcomes(await self._output(folder, steps), folder)
            except (EngineError, TimeoutError) as error:
                found |= dict.fromkeys(_keys(folder), _explained(folder, error))
        return found

    async def probe(self, artifact: Wanted) -> EngineError | None:
        """Return why no Job with orders ends well there.

        Its order is refused as late, so nothing is done.
        """
        for folder in folders([artifact]):
            steps = dict.fromkeys(folder.wanted, OrderKind.HIDE)
            try:
                read_outcomes(await self._output(folder, steps, expires=0.0), folder)
            except (EngineError, TimeoutError) as error:
                return _explained(folder, error)
        return None

    async def _output(
        self, folder: Folder, orders: Orders, *, expires: float | None = None
    ) -> bytes:
        """Run a Job, and return its output. Raises EngineError, and TimeoutError."""
        self.watched(folder.namespace)
        if expires is None:
            expires = datetime.now(UTC).timestamp() + PATIENCE
        job, *others = self.render(folder, orders, expires)
        output = JobOutput(self.api, self.create, _LONGEST)
        for other in others:
            await self.create(other)
        path = JOBS.path(folder.namespace)
        async with asyncio.timeout(PATIENCE):
            try:
                made = await self.api.create(path, job)
            except ApiConflict:
                await output.remove(job)  # its orders are not begun, or are done, from now on
                made = await self.api.create(path, job)
            log.info("collecting by a Job", bucket=folder.url, job=job["metadata"]["name"])
            job["metadata"]["uid"] = msgspec.json.decode(made, type=Job).metadata.uid
            try:
                return await self._read(output, job)
            finally:
                await output.delete(job, pods_first=True)

    async def _read(self, output: JobOutput, job: ApiObject) -> bytes:
        """Return a Job's output, unless it gets no pod. Raises EngineError."""
        reading = asyncio.create_task(output.read(job))
        refused = asyncio.create_task(refusal(self.api, job))
        try:
            await asyncio.wait({reading, refused}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise PodRefusedError(refused.result())
            return reading.result()
        except EngineError as error:
            if await self._is_ended(job):
                raise JobEndedError(error.reason) from error
            raise
        finally:
            for task in (reading, refused):
                task.cancel()
            await asyncio.gather(reading, refused, return_exceptions=True)

    async def _is_ended(self, job: ApiObject) -> bool:
        """Return whether somebody else has deleted a Job."""
        meta = job["metadata"]
        try:
            data = await self.api.get(JOBS.path(meta["namespace"], meta["name"]))
        except NotFound:
            return True
        except EngineError:
            return False
        found = msgspec.json.decode(data, type=Job).metadata
        return found.uid != meta["uid"] or found.deletion_timestamp is not None


def _bounded(found: Iterable[Folder]) -> Iterator[Folder]:
    """Divide folders into those of one Job's orders each."""
    for folder in found:
        items = list(folder.wanted.items())
        for begin in range(0, len(items), MOST_ORDERS):
            yield replace(folder, wanted=dict(items[begin : begin + MOST_ORDERS]))


def _keys(folder: Folder) -> list[TaskKey]:
    return [item.key for item in folder.wanted.values()]


def _explained(folder: Folder, error: Exception) -> EngineError:
    why = str(error) if isinstance(error, EngineError) else "its Job took too long"
    told = failed(f"{folder.url}: {why}")
    if isinstance(error, PodRefusedError | JobEndedError):
        return type(error)(told.reason)
    return told
