"""A task that can start, as the run that an engine is asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.engine import RunSpec
from reconciler.manifests import CommandSection, LoadSection, RunSection, TrainingSection
from reconciler.planner.names import artifact_url, label_value, run_name
from reconciler.planner.plan import PlannerConfig
from reconciler.planner.tasks import ExternalArtifact, ResolvedObject, Task
from reconciler.types import (
    GROUP,
    JSON,
    BuildContext,
    Commit,
    Mounted,
    ObjectRef,
    SecretKey,
    TaskKey,
    TaskKind,
)


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
    artifact is that it reads. The task's key, how and intent are known by then.
    """
    assert task.key is not None
    assert task.intent is not None
    ref = desired.ref
    shared = task.kind is TaskKind.BUILD
    section = task.section
    command = section.command if isinstance(section, LoadSection | TrainingSection) else []
    return RunSpec(
        name=run_name(
            instance=settings.instance,
            namespace=ref.namespace,
            ref=None if shared else ref,
            task=task.kind,
            key=task.key,
            how=task.how,
        ),
        task=task.kind,
        key=task.key,
        how=task.how,
        intent=task.intent,
        namespace=ref.namespace,
        object=None if shared else ref,
        build=_context(desired) if shared else None,
        image=image,
        command=tuple(command),
        params=dict(section.params) if isinstance(section, CommandSection) else {},
        env=dict(section.env) if isinstance(section, CommandSection) else {},
        secret_env=_secrets(section),
        resources=task.resources,
        timeout=section.timeout,
        retries=section.retries,
        profile=section.profile,
        queue=section.queue,
        priority=section.priority,
        service_account=section.service_account,
        output=None
        if shared
        else artifact_url(
            bucket=settings.buckets[ref.kind], cluster=settings.cluster, ref=ref, key=task.key
        ),
        output_kind=ref.kind,
        base=_mounted(task.base, mounts),
        dataset=_mounted(task.dataset, mounts),
        labels=_labels(ref, task, settings, desired.manifest.document.metadata.labels),
        annotations={
            f"{GROUP}/object": str(ref),
            f"{GROUP}/commit": head,
            f"{GROUP}/path": desired.manifest.file,
        },
        lineage=_lineage(desired, task, settings=settings, head=head, image=image, mounts=mounts),
    )


def _secrets(section: RunSection) -> dict[str, SecretKey]:
    if not isinstance(section, CommandSection):
        return {}
    return {name: SecretKey(secret.name, secret.key) for name, secret in section.secret_env.items()}


def _mounted(key: TaskKey | None, mounts: Mapping[TaskKey, ExternalArtifact]) -> Mounted | None:
    return Mounted(key, mounts[key].at, mounts[key].cluster) if key is not None else None


def _context(desired: ResolvedObject) -> BuildContext:
    source = desired.source
    assert source is not None  # a build has a Git source
    return BuildContext(
        url=source.request.url,
        commit=source.resolved.commit,
        tree=source.resolved.tree,
        path=source.git.path,
        dockerfile=source.git.dockerfile,
        build_args=dict(source.git.build_args),
        submodules=source.git.submodules,
    )


#: Of whoever schedules, queues and owns Jobs: a manifest that set these could choose its queue
#: past what it is allowed, or be refused by the API server.
_OTHERS_LABELS = ("batch.kubernetes.io/", "kueue.x-k8s.io/", f"{GROUP}/")
_OTHERS_LEGACY_LABELS = frozenset({"controller-uid", "job-name"})


def _labels(
    ref: ObjectRef, task: Task, settings: PlannerConfig, asked: Mapping[str, str]
) -> dict[str, str]:
    """The manifest's labels, and over them those by which a run is known again."""
    labels = {
        name: value
        for name, value in asked.items()
        if not name.startswith(_OTHERS_LABELS) and name not in _OTHERS_LEGACY_LABELS
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


def _lineage(
    desired: ResolvedObject,
    task: Task,
    *,
    settings: PlannerConfig,
    head: Commit,
    image: str | None,
    mounts: Mapping[TaskKey, ExternalArtifact],
) -> dict[str, JSON]:
    ref = desired.ref
    lineage: dict[str, JSON] = {
        "object": {
            "cluster": settings.cluster,
            "kind": ref.kind.value,
            "namespace": ref.namespace,
            "name": ref.name,
        },
        "task": task.kind.value,
        "commit": head,
        "image": image,
    }
    if desired.source is not None:
        lineage["source"] = {
            "url": desired.source.request.url or ".",
            "commit": desired.source.resolved.commit,
            "tree": desired.source.resolved.tree,
        }
    for name, key in (("base", task.base), ("dataset", task.dataset)):
        if key is not None:
            read: dict[str, JSON] = {"key": key, "url": mounts[key].at}
            if mounts[key].cluster is not None:
                read["cluster"] = mounts[key].cluster
            lineage[name] = read
    return lineage
