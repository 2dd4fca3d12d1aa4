"""Specs of runs, for tasks that start and for previews. Pure.

A run is fully known before anything has been made: artifacts go where their keys say, and so do
images, but for a digest that only a build can tell. Until then its tag stands in for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reconciler.engine import RunSpec, Wanted
from reconciler.manifests import (
    CommandSection,
    EvaluationSection,
    LoadSection,
    RunSection,
    TrainingSection,
    identity_of,
)
from reconciler.planner.ledger import Ledger
from reconciler.planner.lineage import lineage_of
from reconciler.planner.names import artifact_url, evaluation_url, label_value, run_name
from reconciler.planner.plan import PlanInput
from reconciler.planner.planner_config import PlannerConfig
from reconciler.planner.tasks import ExternalArtifact, ResolvedObject, Task
from reconciler.reasons import Reason
from reconciler.types import (
    GROUP,
    BuildContext,
    Commit,
    Mounted,
    ObjectRef,
    SecretKey,
    TaskKey,
    TaskKind,
)
from reconciler.urls import admits_name

#: Where a build pushes to, by namespace and key.
ImageTag = Callable[[str, TaskKey], str]


def render_run(
    desired: ResolvedObject,
    task: Task,
    *,
    settings: PlannerConfig,
    head: Commit,
    image: str | None,
    mounts: Mapping[TaskKey, ExternalArtifact],
) -> RunSpec:
    """The run of a task whose needs are complete.

    ``image`` is the reference it runs in (None for a build); ``mounts`` where every
    artifact is that it reads. The task's key and request hash are known by then.
    """
    assert task.key is not None
    assert task.request_hash is not None
    ref = desired.ref
    # By its path, not by its namespace: the API server then refuses what a wrong check would admit.
    tenant = settings.tenants.of_path(desired.manifest.file)
    shared = task.kind is TaskKind.BUILD
    section = task.section
    command = section.command if isinstance(section, LoadSection | TrainingSection) else None
    if isinstance(section, EvaluationSection):
        command = section.command
    return RunSpec(
        name=run_name(
            instance=settings.instance,
            namespace=ref.namespace,
            ref=None if shared else ref,
            task=task.kind,
            key=task.key,
            execution_hash=task.execution_hash,
        ),
        task=task.kind,
        key=task.key,
        execution_hash=task.execution_hash,
        request_hash=task.request_hash,
        namespace=ref.namespace,
        object=None if shared else ref,
        build=_context(task, section) if shared else None,
        image=image,
        command=tuple(command or ()),
        params=dict(section.params) if isinstance(section, CommandSection) else {},
        env=dict(section.env) if isinstance(section, CommandSection) else {},
        secret_env=_secrets(section),
        resources=task.resources,
        timeout=section.timeout,
        stall=section.stall if isinstance(section, CommandSection) else None,
        retries=section.retries,
        profile=section.profile,
        queue=section.queue,
        priority=section.priority,
        service_account=section.service_account,
        output=None if shared else _output(task.kind, ref, task.key, settings),
        output_kind=ref.kind,
        base=_mounted(task, task.base, mounts),
        dataset=_mounted(task, task.dataset, mounts),
        artifact=_mounted(task, task.artifact, mounts),
        labels=_labels(ref, task, settings, desired.manifest.document.metadata.labels),
        annotations={
            f"{GROUP}/object": str(ref),
            f"{GROUP}/commit": head,
            f"{GROUP}/path": desired.manifest.file,
        },
        lineage=lineage_of(
            desired, task, cluster=settings.cluster, head=head, image=image, mounts=mounts
        ),
        user=tenant.user if tenant is not None else None,
    )


def _output(kind: TaskKind, ref: ObjectRef, key: TaskKey, settings: PlannerConfig) -> str:
    """Return the directory that a task writes."""
    url = evaluation_url if kind is TaskKind.EVALUATE else artifact_url
    return url(bucket=settings.buckets[ref.kind], cluster=settings.cluster, ref=ref, key=key)


def _secrets(section: RunSection) -> dict[str, SecretKey]:
    if not isinstance(section, CommandSection):
        return {}
    return {name: SecretKey(secret.name, secret.key) for name, secret in section.secret_env.items()}


def _mounted(
    task: Task, key: TaskKey | None, mounts: Mapping[TaskKey, ExternalArtifact]
) -> Mounted | None:
    if key is None:
        return None
    mount = mounts[key]
    external = key in task.external and mount.cluster is None
    return Mounted(key, mount.at, mount.cluster, external, mount.listing)


def _context(task: Task, section: RunSection) -> BuildContext:
    source = task.source
    assert source is not None  # a build has a Git source
    return BuildContext(
        url=source.request.url,
        commit=source.resolved.commit,
        tree=source.resolved.tree,
        path=source.git.path,
        dockerfile=source.git.dockerfile,
        build_args=dict(source.git.build_args),
        submodules=source.git.submodules,
        rerun=section.rerun,
    )


#: Labels of schedulers, queues and owners of Jobs, which no allow-list admits: a manifest that set
#: these could choose its queue past what it is allowed, or be refused by the API server.
_OTHERS_LABELS = ("batch.kubernetes.io/", "kueue.x-k8s.io/", f"{GROUP}/")
_OTHERS_LEGACY_LABELS = frozenset({"controller-uid", "job-name"})


def _labels(
    ref: ObjectRef, task: Task, settings: PlannerConfig, asked: Mapping[str, str]
) -> dict[str, str]:
    """Merge the manifest's admitted labels with those that identify a run.

    The latter win. Others stay in the manifest: Services, policies and webhooks select pods by
    their labels.
    """
    labels = {
        name: value
        for name, value in asked.items()
        if admits_name(name, settings.allow_labels)
        and not name.startswith(_OTHERS_LABELS)
        and name not in _OTHERS_LEGACY_LABELS
    }
    labels |= {
        "app.kubernetes.io/managed-by": "reconciler",
        f"{GROUP}/instance": label_value(settings.instance),
        f"{GROUP}/task": task.kind.value,
        f"{GROUP}/key": task.key or "",
    }
    if task.kind is not TaskKind.BUILD:
        labels[f"{GROUP}/kind"] = ref.kind.value
        labels[f"{GROUP}/name"] = ref.name
    return labels


def build_owners(
    desired: Mapping[ObjectRef, ResolvedObject],
) -> dict[tuple[str, TaskKey], tuple[ObjectRef, Task]]:
    """Map each shared build to the object that configures it.

    The first object by kind and name that is not suspended decides how a build runs.

    By namespace and key; where all of them are suspended, the first.
    """
    owners: dict[tuple[str, TaskKey], tuple[ObjectRef, Task]] = {}
    for ref in sorted(desired):
        for task in desired[ref].tasks:
            if task.kind is TaskKind.BUILD and task.key is not None:
                slot = (ref.namespace, task.key)
                first = owners.get(slot)
                if first is None or (
                    _suspended(desired[first[0]]) and not _suspended(desired[ref])
                ):
                    owners[slot] = (ref, task)
    return owners


def _suspended(item: ResolvedObject) -> bool:
    return item.manifest.document.spec.suspend


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A preview of one task's run.

    ``label`` names the task beside the others of its object. ``spec`` is None if it cannot be
    known; ``reason`` is then the cause.

    ``unbuilt`` is whether the image is not built yet, so that its tag stands for its digest.
    """

    task: TaskKind
    label: str
    spec: RunSpec | None = None
    reason: Reason | None = None
    unbuilt: bool = False


def preview(inputs: PlanInput, ref: ObjectRef, *, image_tag: ImageTag) -> tuple[Preview, ...]:
    """Every task of an object, in the order in which they run."""
    previews = _Preview(inputs, image_tag)
    return tuple(previews.task(inputs.desired[ref], task) for task in previews.tasks(ref))


class _Preview:
    def __init__(self, inputs: PlanInput, image_tag: ImageTag) -> None:
        self._inputs = inputs
        self._image_tag = image_tag
        self._owners = build_owners(inputs.desired)
        self._makers: dict[TaskKey, ObjectRef] = {}
        for ref in sorted(inputs.desired):
            for task in inputs.desired[ref].tasks:
                if task.key is not None:
                    self._makers.setdefault(task.key, ref)

    def tasks(self, ref: ObjectRef) -> tuple[Task, ...]:
        return self._inputs.desired[ref].tasks

    def task(self, item: ResolvedObject, task: Task) -> Preview:
        if task.key is None or task.request_hash is None:
            return Preview(task=task.kind, label=task.label, reason=item.unknown)
        label = task.label
        if task.kind is TaskKind.BUILD:
            owner, task = self._owners[item.ref.namespace, task.key]
            item = self._inputs.desired[owner]
        image, unbuilt = self._image(item, task)
        spec = render_run(
            item,
            task,
            settings=self._inputs.settings,
            head=self._inputs.head,
            image=image,
            mounts=self._mounts(task),
        )
        return Preview(task=task.kind, label=label, spec=spec, unbuilt=unbuilt)

    def _image(self, item: ResolvedObject, task: Task) -> tuple[str | None, bool]:
        if task.kind is TaskKind.BUILD:
            return None, False
        if task.image is not None:
            return task.image.at, False
        key = task.image_build or TaskKey(task.image_key or "")
        built = self._inputs.ledger.result(key)
        if built is not None and built.result.image is not None:
            return built.result.image, False
        own = (item.ref.namespace, key) in self._owners
        maker = item.ref if own else self._makers.get(key, item.ref)
        return self._image_tag(maker.namespace, key), True

    def _mounts(self, task: Task) -> Mapping[TaskKey, ExternalArtifact]:
        keys = (task.base, task.dataset, task.artifact)
        read = (key for key in keys if key is not None)
        return {key: task.external.get(key) or ExternalArtifact(at=self._url(key)) for key in read}

    def _url(self, key: TaskKey) -> str:
        complete = self._inputs.ledger.result(key)
        if complete is not None and complete.result.url is not None:
            return complete.result.url
        maker = self._makers[key]
        settings = self._inputs.settings
        bucket = settings.buckets[maker.kind]
        return artifact_url(bucket=bucket, cluster=settings.cluster, ref=maker, key=key)


def wanted_results(inputs: PlanInput) -> list[Wanted]:
    """List the tasks with unknown results, with their expected artifact directories.

    What a renamed object had made under its former name is still there.
    """
    return [
        Wanted(task.kind, task.key, url)
        for item in inputs.desired.values()
        for task in item.tasks
        if task.key is not None and not inputs.ledger.has(task.key, task.kind)
        for url in _places(item, task, task.key, inputs.settings)
    ]


def _places(
    item: ResolvedObject, task: Task, key: TaskKey, settings: PlannerConfig
) -> list[str | None]:
    """Return the directories that may have an artifact; None for an image.

    Of other namespaces and clusters this daemon may have no right to read them.
    """
    if task.kind is TaskKind.BUILD:
        return [None]
    refs = [item.ref]
    cluster, former = identity_of(item.manifest, settings.cluster)
    if (cluster, former.namespace) == (settings.cluster, item.ref.namespace):
        refs = [former, *refs]
    return [_output(task.kind, ref, key, settings) for ref in dict.fromkeys(refs)]


def image_of(ledger: Ledger, task: Task) -> str | None:
    """Return the image that a task runs in.

    None for a build, and while it is unknown.
    """
    if task.kind is TaskKind.BUILD:
        return None
    if task.image is not None:
        return task.image.at
    built = ledger.result(task.image_build)
    return built.result.image if built else None


def mounts_of(ledger: Ledger, task: Task) -> Mapping[TaskKey, ExternalArtifact]:
    """Return what a task reads, by key; all of it is complete."""
    read = (key for key in (task.base, task.dataset, task.artifact) if key is not None)
    return {key: task.external.get(key) or _made(ledger, key) for key in read}


def _made(ledger: Ledger, key: TaskKey) -> ExternalArtifact:
    complete = ledger.result(key)
    assert complete is not None  # it was needed
    assert complete.result.url is not None  # and is no build
    return ExternalArtifact(at=complete.result.url)
