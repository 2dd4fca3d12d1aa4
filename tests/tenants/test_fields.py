"""Every manifest field is bounded by tenants, or names nothing that a tenant could lack."""

from __future__ import annotations

from tests.manifests.test_field_effects import ROOTS, declared

#: Fields that name something outside the object; ``tenancy.py`` checks each.
BOUND = {
    "metadata.namespace",
    "spec.source.bucket.url",
    *(
        f"spec.{source}.git.{field}"
        for source in ("source", "evaluation.source")
        for field in ("path", "submodules", "url")
    ),
    "spec.source.image.ref",
    "spec.load.from.url",
    *(
        f"spec.{reference}.{field}"
        for reference in ("source.model", "training.dataset", "evaluation.dataset")
        for field in ("name", "namespace", "cluster", "key")
    ),
    *(
        f"spec.{task}.{field}"
        for task in ("build", "load", "training", "evaluation")
        for field in ("profile", "queue", "priority", "serviceAccount", "resources.gpu.type")
    ),
    "spec.load.secretEnv",
    "spec.training.secretEnv",
    "spec.evaluation.secretEnv",
}
#: Fields about the object itself, and the choice within what a bound field names.
OWN = {
    "apiVersion", "kind", "metadata.annotations", "metadata.labels", "metadata.name",
    "spec.suspend", "spec.training.mode", "spec.source.bucket.revision", "spec.load.from.revision",
    "spec.source.bucket.update",
    *(
        f"spec.{source}.git.{n}"
        for source in ("source", "evaluation.source")
        for n in ("branch", "commit", "tag", "update", "buildArgs", "dockerfile")
    ),
    *(f"spec.{task}.stall" for task in ("load", "training", "evaluation")),
    "spec.evaluation.require",
    *(f"spec.training.matrix.{n}" for n in ("params", "include", "exclude")),
    *(f"spec.training.matrix.{n}" for n in ("best", "best.metric", "best.goal")),
    *(
        f"spec.{task}.{n}"
        for task in ("load", "training", "evaluation")
        for n in ("command", "env", "params")
    ),
    *(
        f"spec.{task}.{n}"
        for task in ("build", "load", "training", "evaluation")
        for n in ("rerun", "retries", "timeout", *(
            f"resources.{r}" for r in ("cpu", "memory", "disk", "shm", "nodes", "gpu", "gpu.count")
        ))
    ),
}  # fmt: skip


def test_each_field_is_known_to_be_bounded_or_the_objects_own() -> None:
    fields = {".".join(path) for root in ROOTS.values() for path, _ in declared(root)}
    assert not BOUND & OWN
    unknown = fields - BOUND - OWN
    assert not unknown, (
        f"does {min(unknown)} name something outside its object (a Secret, a queue, a bucket)? "
        "Then bound it in reconciler/manifests/tenancy.py and list it in BOUND, else in OWN"
    )
    assert fields >= BOUND | OWN
