"""A command finds the same variables on either engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.command_environment import DEFAULTS, RESERVED_ENV, is_reserved
from reconciler.engine import RunSpec
from reconciler.engines.kubernetes import render
from reconciler.types import Kind, Mounted, TaskKind
from tests.engines.kubernetes.container import BUSYBOX, Container, need_busybox
from tests.engines.kubernetes.specs import environment_of, settings_of
from tests.engines.local.bench import Bench, key_of
from tests.specs import load, train

TRAINING: dict[str, Any] = {
    "params": {"epochs": 3, "learning-rate": 0.5, "layers": [1, 2]},
    "env": {"MODE": "fast"},
}
LOAD: dict[str, Any] = {"task": TaskKind.LOAD, "output_kind": Kind.DATASET, "params": {"n": 1}}


def promised(names: Iterable[str]) -> set[str]:
    """Those that are no engine's own, such as PATH."""
    known = {*DEFAULTS, *TRAINING["env"]}
    return {name for name in names if is_reserved(name) or name in known}


async def local_names(folder: Path, fields: dict[str, Any]) -> set[str]:
    bench = Bench(folder)
    mounted: dict[str, Any] = {}
    if fields is TRAINING:
        for name in ("base", "dataset"):
            (folder / name).mkdir()
            mounted[name] = Mounted(key_of(name), f"{(folder / name).as_uri()}/", external=True)
    spec = await bench.succeed('env -0 > "${MODEL_DIR:-$DATA_DIR}/env"', **fields, **mounted)
    return names_in((bench.artifact(spec) / "env").read_bytes())


def cluster_names(folder: Path, spec: RunSpec) -> set[str]:
    """What the wrapper lets a command see of what the pod has."""
    (job, *_) = render(spec, settings_of(folder))
    (main,) = job["spec"]["template"]["spec"]["containers"]
    env = environment_of(main)
    pod = {name: value for name, value in env.items() if not name.startswith("RECONCILER_")}
    place = folder / "pod"
    container = Container(place, folder / "mounted", env=pod)
    ended = container.run(BUSYBOX, "env", "-0")
    seen = names_in(ended.output)
    return seen - ({"MODEL_DIR"} - set(pod))  # which the test's container always has


def names_in(dump: bytes) -> set[str]:
    return {entry.partition("=")[0] for entry in dump.decode().split("\0") if entry}


@pytest.mark.parametrize("fields", [TRAINING, LOAD], ids=["training", "load"])
async def test_both_engines_give_the_same_variables(tmp_path: Path, fields: dict[str, Any]) -> None:
    need_busybox()
    for name in ("local", "cluster", "cluster/mounted"):
        (tmp_path / name).mkdir()
    spec = replace(train() if fields is TRAINING else load(), **fields)
    there = promised(cluster_names(tmp_path / "cluster", spec))
    assert there == promised(await local_names(tmp_path / "local", fields))
    assert there >= DEFAULTS.keys()
    if fields is TRAINING:
        assert there >= RESERVED_ENV
