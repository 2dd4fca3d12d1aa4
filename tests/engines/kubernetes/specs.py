"""Runs and clusters to render, and what to look at in what comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from reconciler.config import Setup, load_setup
from reconciler.engine import RunSpec
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.job import render
from reconciler.engines.kubernetes.pod_parts import ApiObject
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

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "kubernetes"
KEY, EXECUTION_HASH, REQUEST_HASH = (
    TaskKey("0123456789" * 4),
    ExecutionHash("abcdef0123" * 4),
    RequestHash("9876543210" * 4),
)
COMMIT = Commit("c" * 40)
BASE_KEY, DATA_KEY = TaskKey("b" * 40), TaskKey("d" * 40)
DIGEST = f"registry.example.com/models/default@sha256:{'e' * 64}"

CONFIG: Mapping[str, Any] = {
    "repository": {"url": "https://git.example.com/team/models"},
    "engine": "kubernetes",
    "registry": {"url": "registry.example.com/models"},
    "buckets": {"default": {"url": "gs://models/prod"}},
    "kubernetes": {
        "gpus": {
            "nvidia-l4": {
                "nodeSelector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            }
        },
        "images": {
            "wrapper": f"registry.example.com/wrapper@sha256:{'1' * 64}",
            "buildkit": f"registry.example.com/buildkit@sha256:{'2' * 64}",
            "rclone": f"registry.example.com/rclone@sha256:{'3' * 64}",
        },
    },
}


def setup_of(folder: Path, **sections: Any) -> Setup:
    """A configuration with these sections in place of, or merged into, the usual ones."""
    config: dict[str, Any] = dict(CONFIG)
    for name, section in sections.items():
        there = config.get(name)
        merge = isinstance(there, Mapping) and isinstance(section, Mapping)
        config[name] = {**there, **section} if merge and there else section
    file = folder / "reconciler.yaml"
    file.write_text(json.dumps(config))
    return load_setup(file, {})


def settings_of(folder: Path, **sections: Any) -> ClusterSettings:
    return ClusterSettings.from_setup(setup_of(folder, **sections))


def labels(task: TaskKind, ref: ObjectRef | None) -> dict[str, str]:
    found = {
        "team": "vision",
        "app.kubernetes.io/managed-by": "reconciler",
        f"{GROUP}/instance": "default",
        f"{GROUP}/task": task.value,
        f"{GROUP}/key": KEY,
    }
    if ref is not None:
        found |= {f"{GROUP}/kind": ref.kind.value, f"{GROUP}/name": ref.name}
    return found


ANNOTATIONS = {
    f"{GROUP}/object": "Model default/falcon",
    f"{GROUP}/commit": COMMIT,
    f"{GROUP}/path": "models/falcon.yaml",
}


def train(**changes: Any) -> RunSpec:
    """A training with everything that a manifest can say but a queue and several nodes."""
    ref = ObjectRef(Kind.MODEL, "default", "falcon")
    spec = RunSpec(
        name="r-falcon-t-0123456789ab-abcdef",
        task=TaskKind.TRAIN,
        key=KEY,
        execution_hash=EXECUTION_HASH,
        request_hash=REQUEST_HASH,
        namespace="default",
        object=ref,
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
        labels=labels(TaskKind.TRAIN, ref),
        annotations=ANNOTATIONS,
        lineage={"task": "train", "image": DIGEST},
    )
    return replace(spec, **changes)


def load(**changes: Any) -> RunSpec:
    """The load of a Dataset, with nothing asked for."""
    ref = ObjectRef(Kind.DATASET, "default", "squad")
    spec = RunSpec(
        name="r-squad-l-0123456789ab-abcdef",
        task=TaskKind.LOAD,
        key=KEY,
        execution_hash=EXECUTION_HASH,
        request_hash=REQUEST_HASH,
        namespace="default",
        object=ref,
        image=DIGEST,
        command=("load.sh",),
        retries=2,
        output=f"gs://models/prod/clusters/local/namespaces/default/datasets/squad/{KEY}/",
        output_kind=Kind.DATASET,
        labels=labels(TaskKind.LOAD, ref),
        annotations=ANNOTATIONS,
        lineage={"task": "load"},
    )
    return replace(spec, **changes)


CONTEXT = BuildContext(
    url="https://git.example.com/team/falcon",
    commit=COMMIT,
    tree=TreeId("f" * 40),
    path="images/falcon",
    build_args={"CUDA": "12", "PRICE": "$5"},
)


def build(**changes: Any) -> RunSpec:
    """A build that several objects share."""
    spec = RunSpec(
        name="r-build-b-0123456789ab-abcdef",
        task=TaskKind.BUILD,
        key=KEY,
        execution_hash=EXECUTION_HASH,
        request_hash=REQUEST_HASH,
        namespace="default",
        object=None,
        build=CONTEXT,
        resources=Resources(cpu=2, memory=4 << 30, disk=20 << 30),
        retries=2,
        labels=labels(TaskKind.BUILD, None),
        annotations=ANNOTATIONS,
    )
    return replace(spec, **changes)


def job_of(spec: RunSpec, settings: ClusterSettings) -> ApiObject:
    return render(spec, settings)[0]


def pod_of(spec: RunSpec, settings: ClusterSettings) -> ApiObject:
    pod: ApiObject = job_of(spec, settings)["spec"]["template"]["spec"]
    return pod


def main_of(spec: RunSpec, settings: ClusterSettings) -> ApiObject:
    """The container of the command."""
    (container,) = (c for c in pod_of(spec, settings)["containers"] if c["name"] == "main")
    found: ApiObject = container
    return found


def named(items: list[ApiObject], name: str) -> ApiObject:
    (item,) = (item for item in items if item["name"] == name)
    return item


def mounts_of(container: ApiObject) -> dict[str, ApiObject]:
    """A container's mounts by path; the path itself left out."""
    return {
        mount["mountPath"]: {k: v for k, v in mount.items() if k != "mountPath"}
        for mount in container["volumeMounts"]
    }


def environment_of(container: ApiObject) -> dict[str, str]:
    """The variables as the container sees them; those from elsewhere by their source."""
    names = [variable["name"] for variable in container["env"]]
    assert len(names) == len(set(names))
    return {
        v["name"]: expand(v["value"]) if "value" in v else json.dumps(v["valueFrom"])
        for v in container["env"]
    }


def expand(text: str) -> str:
    """What Kubernetes makes of a text in env, command or args, where no variable is defined.

    ``$$`` is a dollar; ``$(NAME)`` stays, as nothing is called so, but would not if something were.
    """
    found, place = "", 0
    while place < len(text):
        assert not text.startswith("$(", place), f"{text!r} would be expanded"
        step = 2 if text.startswith("$$", place) else 1
        found += text[place]
        place += step
    return found


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / "api.schema.json").read_text())
    return found


@cache
def _validator(kind: str) -> Draft202012Validator:
    schema = _schema()
    return Draft202012Validator({**schema["kinds"][kind], "$defs": schema["$defs"]})


def check_schema(objects: list[ApiObject]) -> None:
    """Every object is what the API server's OpenAPI calls one; unknown fields are errors."""
    for item in objects:
        _validator(item["kind"]).validate(item)
