"""A command finds the same variables on either engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import DEFAULTS, RESERVED_ENV, RESULT_DIR, RunSpec
from reconciler.engines.kubernetes import render
from reconciler.engines.local.environment import passed_on
from reconciler.engines.local.process import TOKEN
from reconciler.types import Kind, Mounted, SecretKey, TaskKind
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import BUSYBOX, Container, need_busybox
from tests.engines.kubernetes.specs import environment_of, settings_of
from tests.engines.local.bench import Bench, key_of
from tests.specs import evaluate, load, train

TRAINING: dict[str, Any] = {
    "params": {"epochs": 3, "learning-rate": 0.5, "layers": [1, 2]},
    "env": {"MODE": "fast"},
    "secret_env": {"TOKEN": SecretKey("hub", "token")},
}
EVALUATION: dict[str, Any] = {"task": TaskKind.EVALUATE, "params": {"batch": 64}}
SECRET = "s3cr3t"
LOAD: dict[str, Any] = {"task": TaskKind.LOAD, "output_kind": Kind.DATASET, "params": {"n": 1}}


#: Variables of the machine that a local command runs on. In a cluster the image and the container
#: runtime have theirs, which no test knows.
MACHINE = {"PATH", "HOME", "TMPDIR", "CUDA_VISIBLE_DEVICES", TOKEN, *passed_on(os.environ)}
#: What a shell exports by itself.
SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}
#: Names of places, which differ.
PLACES = {
    *("MODEL_DIR", "BASE_MODEL_DIR", "DATA_DIR", "RESULT_DIR"),
    *("SCRATCH_DIR", "PARAMS_FILE", "PROGRESS_FILE", "MASTER_PORT"),
}
#: In a cluster there only with ``server.progress``.
REPORTS = {f"KUBEFLOW_TRAINER_SERVER_{name}" for name in ("URL", "TOKEN", "CA_CERT")}


async def local_variables(folder: Path, fields: dict[str, Any]) -> dict[str, str]:
    bench = Bench(folder)
    mounted: dict[str, Any] = {}
    if fields is not LOAD:
        for name in ("base" if fields is TRAINING else "artifact", "dataset"):
            (folder / name).mkdir()
            mounted[name] = Mounted(key_of(name), f"{(folder / name).as_uri()}/", external=True)
    (bench.secrets / "hub").mkdir(parents=True)
    (bench.secrets / "hub" / "token").write_text(SECRET)
    spec = await bench.succeed(
        'env -0 > "${RESULT_DIR:-${MODEL_DIR:-$DATA_DIR}}/env"', **fields, **mounted
    )
    return variables_in((bench.artifact(spec) / "env").read_bytes())


def cluster_variables(folder: Path, spec: RunSpec) -> dict[str, str]:
    """What the wrapper lets a command see of what the pod has."""
    (job, *_) = render(spec, settings_of(folder))
    (main,) = job["spec"]["template"]["spec"]["containers"]
    env = environment_of(main)
    pod = {name: value for name, value in env.items() if not name.startswith("RECONCILER_")}
    pod |= dict.fromkeys(spec.secret_env, SECRET)
    place = folder / "pod"
    container = Container(place, folder / "mounted", env=pod)
    ended = container.run(BUSYBOX, "env", "-0")
    seen = variables_in(ended.output)
    if "MODEL_DIR" not in pod:  # which the test's container always has
        del seen["MODEL_DIR"]
    return seen


def variables_in(dump: bytes) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in dump.decode().split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs if name not in SHELL}


@pytest.mark.parametrize(
    "fields", [TRAINING, LOAD, EVALUATION], ids=["training", "load", "evaluation"]
)
async def test_both_engines_give_the_same_variables(tmp_path: Path, fields: dict[str, Any]) -> None:
    need_busybox()
    for name in ("local", "cluster", "cluster/mounted"):
        (tmp_path / name).mkdir()
    order = {"train": train, "load": load, "evaluate": evaluate}
    spec = replace(order[fields.get("task", TaskKind.TRAIN)](), **fields)
    there = cluster_variables(tmp_path / "cluster", spec)
    here = await local_variables(tmp_path / "local", fields)
    assert there.keys() - {"PATH"} == here.keys() - (MACHINE - DEFAULTS.keys()) - REPORTS
    assert there.keys() >= DEFAULTS.keys()
    same = there.keys() - PLACES - MACHINE
    assert {name: there[name] for name in same} == {name: here[name] for name in same}
    if fields is TRAINING:
        assert there.keys() >= RESERVED_ENV - {RESULT_DIR} - REPORTS
    if fields is EVALUATION:
        assert RESULT_DIR in there


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_gives_way_to_the_images_and_the_manifests_variable(
    pod: MakeContainer, name: str
) -> None:
    seen = variables_in(pod(env={name: ""}).run(BUSYBOX, "env", "-0").output)
    assert seen[name] == ""
