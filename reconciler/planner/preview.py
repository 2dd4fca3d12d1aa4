"""The runs that an object's tasks would be, whether or not they are needed now. Pure.

A run is fully known before anything has been made: artifacts go where their keys say, and so do
images, but for a digest that only a build can tell. Until then its tag stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.engine import RunSpec
from reconciler.planner.builds import build_owners
from reconciler.planner.names import artifact_url
from reconciler.planner.plan import PlanInput
from reconciler.planner.run_spec import render_run
from reconciler.planner.tasks import ExternalArtifact, ResolvedObject, Task
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKey, TaskKind

#: Where a build pushes to, by namespace and key.
ImageTag = Callable[[str, TaskKey], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """One task as it would run. ``spec`` is None where that cannot be known: ``reason`` says why.

    ``unbuilt`` is whether the image is not built yet, so that its tag stands for its digest.
    """

    task: TaskKind
    spec: RunSpec | None = None
    reason: Reason | None = None
    unbuilt: bool = False


def preview(situation: PlanInput, ref: ObjectRef, *, image_tag: ImageTag) -> tuple[Preview, ...]:
    """Every task of an object, in the order in which they run."""
    looking = _Looking(situation, image_tag)
    return tuple(looking.task(situation.desired[ref], task) for task in looking.tasks(ref))


class _Looking:
    def __init__(self, situation: PlanInput, image_tag: ImageTag) -> None:
        self._situation = situation
        self._image_tag = image_tag
        self._owners = build_owners(situation.desired)
        self._makers: dict[TaskKey, ObjectRef] = {}
        for ref in sorted(situation.desired):
            for task in situation.desired[ref].tasks:
                if task.key is not None:
                    self._makers.setdefault(task.key, ref)

    def tasks(self, ref: ObjectRef) -> tuple[Task, ...]:
        return self._situation.desired[ref].tasks

    def task(self, item: ResolvedObject, task: Task) -> Preview:
        if task.key is None or task.intent is None:
            reason = item.blocked or Reason.of(ReasonCode.KEY_UNKNOWN)
            return Preview(task=task.kind, reason=reason)
        if task.kind is TaskKind.BUILD:
            owner, task = self._owners[item.ref.namespace, task.key]
            item = self._situation.desired[owner]
        image, unbuilt = self._image(item, task)
        spec = render_run(
            item,
            task,
            settings=self._situation.settings,
            head=self._situation.head,
            image=image,
            mounts=self._mounts(task),
        )
        return Preview(task=task.kind, spec=spec, unbuilt=unbuilt)

    def _image(self, item: ResolvedObject, task: Task) -> tuple[str | None, bool]:
        if task.kind is TaskKind.BUILD:
            return None, False
        if item.image is not None:
            return item.image.at, False
        key = TaskKey(task.image_key or "")
        built = self._situation.ledger.result(key)
        if built is not None and built.result.image is not None:
            return built.result.image, False
        own = (item.ref.namespace, key) in self._owners
        maker = item.ref if own else self._makers.get(key, item.ref)
        return self._image_tag(maker.namespace, key), True

    def _mounts(self, task: Task) -> Mapping[TaskKey, ExternalArtifact]:
        read = (key for key in (task.base, task.dataset) if key is not None)
        return {key: task.given.get(key) or ExternalArtifact(at=self._url(key)) for key in read}

    def _url(self, key: TaskKey) -> str:
        complete = self._situation.ledger.result(key)
        if complete is not None and complete.result.url is not None:
            return complete.result.url
        maker = self._makers[key]
        settings = self._situation.settings
        bucket = settings.buckets[maker.kind]
        return artifact_url(bucket=bucket, cluster=settings.cluster, ref=maker, key=key)
