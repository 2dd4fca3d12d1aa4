"""Runs to order, as a planner orders them: the least of one, and one of each task in full."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reconciler.engine import RunSpec
from reconciler.types import (
    GROUP,
    BuildContext,
    Commit,
    ExecutionHash,
    Gpu,
    Kind,
    Mounted,
    ObjectRef,
    RequestHash,
    Resources,
    SecretKey,
    TaskKey,
    TaskKind,
    TreeId,
)

KEY, EXECUTION_HASH, REQUEST_HASH = (
    TaskKey("0123456789" * 4),
    ExecutionHash("abcdef0123" * 4),
    RequestHash("9876543210" * 4),
)
COMMIT = Commit("c" * 40)
BASE_KEY, DATA_KEY = TaskKey("b" * 40), TaskKey("d" * 40)
DIGEST = f"registry.example.com/models/default@sha256:{'e' * 64}"
CONTEXT = BuildContext(
    url="https://git.example.com/team/falcon",
    commit=COMMIT,
    tree=TreeId("f" * 40),
    path="images/falcon",
    build_args={"CUDA": "12", "PRICE": "$5"},
)
ANNOTATIONS = {
    f"{GROUP}/object": "Model default/falcon",
    f"{GROUP}/commit": COMMIT,
    f"{GROUP}/path": "models/falcon.yaml",
}


def labels(
    task: TaskKind, ref: ObjectRef | None, *, key: TaskKey = KEY, instance: str = "default"
) -> dict[str, str]:
    found = {
        "team": "vision",
        "app.kubernetes.io/managed-by": "reconciler",
        f"{GROUP}/instance": instance,
        f"{GROUP}/task": task.value,
        f"{GROUP}/key": key,
    }
    if ref is not None:
        found |= {f"{GROUP}/kind": ref.kind.value, f"{GROUP}/name": ref.name}
    return found


def run_spec(subject: str, task: TaskKind = TaskKind.TRAIN, **fields: Any) -> RunSpec:
    """The least run of a task: ``subject`` is the name of its object, and "build" of a build."""
    key, execution_hash = fields.get("key", KEY), fields.get("execution_hash", EXECUTION_HASH)
    namespace = fields.get("namespace", "default")
    kind = Kind.DATASET if task is TaskKind.LOAD else Kind.MODEL
    values: dict[str, Any] = {
        "name": f"r-{subject}-{task.value[0]}-{key[:12]}-{execution_hash[:6]}",
        "key": key,
        "execution_hash": execution_hash,
        "request_hash": REQUEST_HASH,
        "namespace": namespace,
        "object": None if task is TaskKind.BUILD else ObjectRef(kind, namespace, subject),
    }
    return RunSpec(task=task, **(values | fields))


def train(**changes: Any) -> RunSpec:
    """A training with everything that a manifest can say but a queue and several nodes."""
    spec = run_spec(
        "falcon",
        name="r-falcon-t-0123456789ab-abcdef",
        image=DIGEST,
        command=("train.sh", "--price", "$(HOME) $$5"),
        params={"epochs": 3, "learning-rate": 0.5, "name": "a$(b)", "layers": [1, 2]},
        env={"WANDB_MODE": "offline"},
        secret_env={"HF_TOKEN": SecretKey("hf", "token")},
        resources=Resources(
            cpu=3.5, memory=16 << 30, disk=100 << 30, shm=8 << 30, gpu=Gpu("nvidia-l4", 2)
        ),
        timeout=86400.0,
        retries=2,
        output=f"gs://models/prod/clusters/local/namespaces/default/models/falcon/{KEY}/",
        base=Mounted(BASE_KEY, f"gs://models/prod/base/{BASE_KEY}/"),
        dataset=Mounted(DATA_KEY, f"gs://models/prod/data/{DATA_KEY}/"),
        labels=labels(TaskKind.TRAIN, ObjectRef(Kind.MODEL, "default", "falcon")),
        annotations=ANNOTATIONS,
        lineage={"task": "train", "image": DIGEST},
    )
    return replace(spec, **changes)


def evaluate(**changes: Any) -> RunSpec:
    """The evaluation of a Model on a dataset."""
    spec = run_spec(
        "falcon",
        TaskKind.EVALUATE,
        name="r-falcon-e-0123456789ab-abcdef",
        image=DIGEST,
        command=("evaluate.sh",),
        params={"batch": 64},
        output="gs://models/prod/clusters/local/namespaces/default/models/falcon/"
        f"evaluations/{KEY}/",
        artifact=Mounted(BASE_KEY, f"gs://models/prod/falcon/{BASE_KEY}/"),
        dataset=Mounted(DATA_KEY, f"gs://models/prod/data/{DATA_KEY}/"),
        labels=labels(TaskKind.EVALUATE, ObjectRef(Kind.MODEL, "default", "falcon")),
        annotations=ANNOTATIONS,
        lineage={"task": "evaluate"},
    )
    return replace(spec, **changes)


def load() -> RunSpec:
    """The load of a Dataset, with nothing asked for."""
    return run_spec(
        "squad",
        TaskKind.LOAD,
        name="r-squad-l-0123456789ab-abcdef",
        image=DIGEST,
        command=("load.sh",),
        retries=2,
        output=f"gs://models/prod/clusters/local/namespaces/default/datasets/squad/{KEY}/",
        output_kind=Kind.DATASET,
        labels=labels(TaskKind.LOAD, ObjectRef(Kind.DATASET, "default", "squad")),
        annotations=ANNOTATIONS,
        lineage={"task": "load"},
    )


def build(**context: Any) -> RunSpec:
    """A build that several objects share, of a context with these changes."""
    return run_spec(
        "build",
        TaskKind.BUILD,
        name="r-build-b-0123456789ab-abcdef",
        build=replace(CONTEXT, **context),
        resources=Resources(cpu=2, memory=4 << 30, disk=20 << 30),
        retries=2,
        labels=labels(TaskKind.BUILD, None),
        annotations=ANNOTATIONS,
    )
