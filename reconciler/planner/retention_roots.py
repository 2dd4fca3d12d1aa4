"""References to artifacts and images in records, plans and texts; doubts. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from reconciler.engine import Run
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.plan import Plan
from reconciler.planner.retention import Referrer, RetainedArtifact, Role, Roots
from reconciler.planner.retention_policy import RetentionPolicy
from reconciler.planner.tasks import ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKey, TaskKind

Reference = tuple[TaskKey, Referrer]
_KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])|sha256:[0-9a-f]{64}(?![0-9a-f])")


def collect_roots(references: Iterable[Reference]) -> Roots:
    """Group references by key, each once."""
    found: dict[TaskKey, dict[Referrer, None]] = defaultdict(dict)
    for key, referrer in references:
        found[key][referrer] = None
    return {key: tuple(referrers) for key, referrers in found.items()}


def recorded_references(
    records: Mapping[ObjectRef, ObjectStatus], policy: RetentionPolicy, now: datetime
) -> Iterator[Reference]:
    """Yield the references of objects' statuses.

    Of what a promotion has served, those count that are as new as artifacts must be to stay.
    """
    for ref, record in records.items():
        name = str(ref)
        if record.artifact is not None:
            yield record.artifact.key, Referrer(Role.CURRENT, name)
        if record.candidate is not None:
            yield record.candidate.key, Referrer(Role.CANDIDATE, name)
        for image in sorted(images_in_use(record)):
            yield image_name(image), Referrer(Role.DESIRED, name)
        asked = (
            record.desired,
            *(key for task in record.tasks for key in (task.key, task.run_key)),
            *(variant.key for variant in record.variants),
        )
        for key in asked:
            if key is not None:
                yield key, Referrer(Role.DESIRED, name)
        for age, served in enumerate(reversed(record.served)):
            if age < policy.keep or now - served.at < timedelta(days=policy.days):
                yield served.key, Referrer(Role.SERVED, name)


def image_name(image: str) -> TaskKey:
    """Return an image's digest, or the key of its build."""
    return TaskKey(image.rpartition("@")[2])


def run_references(runs: Iterable[Run]) -> Iterator[Reference]:
    """Yield the references of live runs."""
    for run in runs:
        if run.live:
            yield run.key, Referrer(Role.RUN, run.name)


def desired_keys_of(
    plan: Plan, refs: Iterable[ObjectRef] | None = None
) -> Iterator[tuple[TaskKey, ObjectRef]]:
    """Yield every key that objects of a plan ask for.

    They are those of artifacts, tasks and inputs, of the artifacts that gates compare with, and
    those that manifests name. Images have the key of their build, or a digest.
    """
    desired = plan.inputs.desired
    for ref in desired if refs is None else refs:
        item = desired[ref]
        for key in (*_asked(item), *_pinned(item)):
            if key is not None:
                yield key, ref


@dataclass(frozen=True, slots=True)
class AskedFor:
    """The needs of a plan and its live runs.

    ``building`` are the namespaces with a build under way, which may push any digest: one that
    runs, that the plan creates, or that is tried again after a delay.
    """

    keys: frozenset[TaskKey]
    building: frozenset[str]

    @classmethod
    def by(cls, plan: Plan) -> Self:
        """Return what a plan asks for."""
        runs = [run for run in plan.inputs.runs.values() if run.live]
        desired = (key for key, _ in desired_keys_of(plan))
        waiting = (
            action.ref.namespace
            for action in plan.decisions
            if action.task.kind is TaskKind.BUILD
            and (action.spec is not None or action.retry_at is not None)
        )
        live = (
            run.namespace or (run.object.namespace if run.object is not None else "")
            for run in runs
            if run.task is TaskKind.BUILD
        )
        return cls(
            keys=frozenset((*(run.key for run in runs), *desired)),
            building=frozenset((*waiting, *live)),
        )

    def has(self, artifact: RetainedArtifact) -> bool:
        """Return whether an artifact must stay as it is."""
        if artifact.is_image and artifact.ref.namespace in self.building:
            return True
        return artifact.key in self.keys or image_name(artifact.url) in self.keys


def desired_references(plan: Plan) -> Iterator[Reference]:
    """Yield the references of the objects of a plan."""
    return ((key, Referrer(Role.DESIRED, str(ref))) for key, ref in desired_keys_of(plan))


def _asked(item: ResolvedObject) -> Iterator[TaskKey | None]:
    yield item.key
    yield from _images(item)
    gate = item.gate
    tasks = [*item.tasks, *(variant.task for variant in item.variants)]
    if gate is not None:
        yield gate.current.key if gate.current is not None else None
        tasks += [task for task in (gate.task, gate.current_task) if task is not None]
    for task in tasks:
        yield from (task.key, task.base, task.dataset, task.artifact, *task.needs)
        yield from _images(task)


def _images(of: ResolvedObject | Task) -> Iterator[TaskKey | None]:
    yield of.image_build
    yield image_name(of.image_key) if of.image_key is not None else None


def _is_unknown(item: ResolvedObject) -> bool:
    """Return whether keys of an object are unknown.

    A sweep may have no artifact of its own.
    """
    if item.variants:
        return any(variant.task.key is None for variant in item.variants)
    return item.key is None


def _pinned(item: ResolvedObject) -> Iterator[TaskKey | None]:
    for _, reference, _ in item.manifest.references:
        yield TaskKey(reference.key) if reference.key is not None else None


def named_keys(text: str) -> frozenset[TaskKey]:
    """Return possible keys and digests in the text of a manifest."""
    return frozenset(TaskKey(found) for found in _KEY.findall(text))


def plan_doubts(plan: Plan, only: Container[ObjectRef] | None = None) -> Iterator[Reason]:
    """Yield a reason for each object with uncertain keys.

    With ``only`` those of other objects are left out.
    """
    inputs = plan.inputs
    for problem in (inputs.unreadable, *inputs.tenant_unreadable.values()):
        if problem is not None:
            yield unreadable("manifest", "", problem)
    for ref, wrong in sorted(inputs.invalid.items()):
        if only is None or ref in only:
            yield unreadable("manifest of", str(ref), str(wrong))
    for ref, item in sorted(inputs.desired.items()):
        if ref not in inputs.invalid and _is_unknown(item) and (only is None or ref in only):
            yield Reason.of(ReasonCode.COLLECTION_KEY_UNKNOWN, object=ref, cause=item.unknown)


def run_doubts(plan: Plan) -> Iterator[Reason]:
    """Yield a reason for each live run of an earlier key.

    It reads inputs that no manifest names any more.
    """
    inputs = plan.inputs
    known = {key for key, _ in desired_keys_of(plan)}
    for run in sorted(inputs.runs.values(), key=lambda run: run.name):
        if run.live and run.key not in known:
            yield Reason.of(ReasonCode.COLLECTION_RUN_GOES_ON, run=run.name)


def unreadable(kind: str, name: str, detail: str) -> Reason:
    """Return the doubt about something that cannot be read."""
    what = f"{kind} {name}".strip()
    return Reason.of(ReasonCode.COLLECTION_UNREADABLE, what=what, detail=detail)


def images_in_use(record: ObjectStatus) -> frozenset[str]:
    """Return the images that an object needs, or may need at once.

    Each is a build key or an image's reference. They are its own builds, desired or running, the
    image that its tasks run in, and that of its current artifact. Images of its history are not
    needed: a revert to a complete artifact runs nothing.
    """
    own = (task for task in record.tasks if task.task is TaskKind.BUILD)
    found = [record.image, *(key for task in own for key in (task.key, task.run_key))]
    if record.artifact is not None:
        found += [record.artifact.image_key, record.artifact.image]
    return frozenset(image for image in found if image is not None)


def all_images_in_use(records: Iterable[ObjectStatus]) -> frozenset[str]:
    """Return the images that any of the objects needs."""
    return frozenset[str]().union(*map(images_in_use, records))
