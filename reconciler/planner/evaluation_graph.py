"""Gates in the task graph, and the evaluations that they take. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.manifests import (
    ACCEPT_ANNOTATION,
    EVALUATION_DATASET_FIELD,
    EvaluationSection,
    Manifest,
    ModelSpec,
    identity_of,
)
from reconciler.planner.graph_nodes import Image, made_task, unknown_task
from reconciler.planner.keys import as_request_hash, evaluate_key, identity
from reconciler.planner.ledger import Ledger
from reconciler.planner.object_status import ObjectStatus
from reconciler.planner.task_graph import Found
from reconciler.planner.tasks import (
    AcceptedArtifact,
    ExternalArtifact,
    Gate,
    PlannedArtifact,
    ResolvedObject,
    Task,
    annotation,
)
from reconciler.reasons import Reason
from reconciler.types import Hash, TaskKind


def evaluation_of(manifest: Manifest) -> EvaluationSection | None:
    """Return the evaluation of a Model, if it has one."""
    spec = manifest.document.spec
    return spec.evaluation if isinstance(spec, ModelSpec) else None


def compares(manifest: Manifest) -> bool:
    """Return whether a gate compares with the accepted artifact."""
    section = evaluation_of(manifest)
    return section is not None and any(line.current is not None for line in section.lines)


def accepted_artifact(record: ObjectStatus | None, ledger: Ledger) -> AcceptedArtifact | None:
    """Return the accepted artifact of an object, unless it is lost."""
    found = record.artifact if record is not None else None
    if found is None or found.key in ledger.losses:
        return None
    known = ledger.result(found.key) is not None
    return AcceptedArtifact(key=found.key, url=found.url, metrics=found.metrics, known=known)


def with_gate(
    item: ResolvedObject,
    upstream: Found,
    current: AcceptedArtifact | None,
    test: Image | Reason | None,
    *,
    cluster: str,
) -> ResolvedObject:
    """Add the gate of an object, and its evaluations.

    ``current`` is the accepted artifact, for a gate that compares with it; ``test`` the image of
    the evaluation's own source, if it has one.
    """
    section = evaluation_of(item.manifest)
    if section is None:
        return item
    gate = Gate(lines=section.lines, accept=annotation(item.manifest, ACCEPT_ANNOTATION))
    if current is not None and current.key != item.key:
        gate = replace(gate, current=current)
    found = replace(item, gate=gate, gates=(item.ref, *item.gates))
    if section.command is None:
        return found
    dataset = upstream.get(EVALUATION_DATASET_FIELD)
    image = test or _image(item)
    if isinstance(test, Image):
        found, gate = _with_build(found, gate, test)
    if item.key is None or item.request_hash is None or image is None:
        # Of a sweep the best is evaluated, and its trainings do not wait for that.
        return _unknown(found, gate, section, item.blocked if item.variants else item.unknown)
    if isinstance(image, Reason):
        return _unknown(found, gate, section, item.blocked or image)
    if isinstance(dataset, Reason):
        return _unknown(found, gate, section, item.blocked or dataset)
    evaluations = _Evaluations(
        item, section, image, dataset.artifact if dataset is not None else None, cluster
    )
    artifact = PlannedArtifact(key=item.key, request_hash=item.request_hash, external=item.external)
    task = evaluations.of(artifact)
    gate = replace(gate, task=task)
    tasks = (*found.tasks, task)
    if gate.current is not None:
        # It is of use only once there is something to compare.
        after = (item.key,) if item.external is None else ()
        task = evaluations.of(_planned(gate.current, item))
        task = replace(task, needs=tuple(dict.fromkeys((*task.needs, *after))))
        gate, tasks = replace(gate, current_task=task), (*tasks, task)
    return replace(found, tasks=tasks, gate=gate)


def _with_build(item: ResolvedObject, gate: Gate, test: Image) -> tuple[ResolvedObject, Gate]:
    """Add the build of the test's image, unless it is the object's."""
    found = replace(item, sources=(*item.sources, *test.sources))
    if test.build is None or any(task.key == test.build.key for task in item.tasks):
        return found, gate
    return replace(found, tasks=(*item.tasks, test.build)), replace(gate, build=test.build)


def _image(item: ResolvedObject) -> Image | None:
    if item.image_key is None or item.image_request_hash is None:
        return None
    return Image(
        key=item.image_key,
        made_by=item.image_build,
        request_hash=item.image_request_hash,
        external=item.image,
        source=item.source,
    )


def _unknown(
    item: ResolvedObject, gate: Gate, section: EvaluationSection, why: Reason | None
) -> ResolvedObject:
    task = unknown_task(item.manifest, TaskKind.EVALUATE, section)
    return replace(item, tasks=(*item.tasks, task), blocked=why, gate=replace(gate, task=task))


def _planned(current: AcceptedArtifact, item: ResolvedObject) -> PlannedArtifact:
    """Return the accepted artifact as an input.

    One that nothing here made is external.
    """
    external = None
    if not current.known:
        cluster = item.external.cluster if item.external is not None else None
        external = ExternalArtifact(at=current.url, cluster=cluster)
    return PlannedArtifact(
        key=current.key, request_hash=as_request_hash(current.key), external=external
    )


@dataclass(frozen=True, slots=True)
class _Evaluations:
    """One test, of any artifact of an object."""

    item: ResolvedObject
    section: EvaluationSection
    image: Image
    data: PlannedArtifact | None
    cluster: str

    def of(self, artifact: PlannedArtifact) -> Task:
        """Return the evaluation of an artifact."""
        who = identity(*identity_of(self.item.manifest, self.cluster))

        def hashed(image: Hash, artifact: Hash | None, dataset: Hash | None) -> Hash:
            assert artifact is not None
            return evaluate_key(
                identity=who, image=image, section=self.section, artifact=artifact, dataset=dataset
            )

        made = made_task(
            TaskKind.EVALUATE,
            self.item.manifest,
            self.section,
            self.image,
            hashed,
            base=artifact,
            data=self.data,
        )
        assert made.task is not None
        # The gate of a promotion reads what the gate of its base has accepted.
        return replace(made.task, base=None, artifact=artifact.key, gates=self.item.gates)
