"""Whole runs, as a person would read them; and every object against Kubernetes' own schema.

Scripts stand in them as "(script)": they have tests of their own, and would hide the rest.

A golden file that has changed on purpose is written anew with
``python -m tests.engines.kubernetes.test_render_golden``, and read in the review.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler.engine import OrderKind, Wanted
from reconciler.engines.kubernetes import image_tag
from reconciler.engines.kubernetes.artifact_collection import render_collection
from reconciler.engines.kubernetes.inventory import folders
from reconciler.engines.kubernetes.job import dump, render
from reconciler.engines.kubernetes.pod_parts import ApiObject
from reconciler.planner import PlannerConfig, preview
from reconciler.types import Kind, Mounted, Resources, TaskKind
from tests.engines.kubernetes.specs import GOLDEN, check_schema, settings_of
from tests.planner.world import World, model
from tests.specs import BASE_KEY, DATA_KEY, KEY, build, evaluate, load, train

Rendered = Callable[[Path], str]


def _checked(objects: list[ApiObject]) -> str:
    check_schema(objects)
    pod = objects[0]["spec"]["template"]["spec"]
    for container in [*pod["initContainers"], *pod["containers"]]:
        container["command"] = ["(script)" if "\n" in c else c for c in container["command"]]
    return dump(objects)


def _build(folder: Path) -> str:
    (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n")
    settings = settings_of(
        folder,
        registry={"url": "registry.example.com/models", "secret": "registry"},
        sources={"credentials": [{"prefix": "https://git.example.com/", "buildSecret": "git"}]},
        tls={"caFile": "ca.pem"},
    )
    objects = render(build(), settings)
    return _checked(objects)


def _build_attested(folder: Path) -> str:
    settings = settings_of(
        folder,
        registry={
            "url": "registry.example.com/models",
            "attestations": {"provenance": "max", "sbom": True},
        },
    )
    return _checked(render(build(), settings))


def _load_gcs(folder: Path) -> str:
    objects = render(load(), settings_of(folder))
    return _checked(objects)


def _evaluate(folder: Path) -> str:
    return _checked(render(evaluate(), settings_of(folder)))


def _evaluate_own_source(folder: Path) -> str:
    """The build of the test's own code, and the evaluation in that image."""
    manifest = (
        "kind: Model\nmetadata: {name: falcon}\nspec:\n"
        "  source: {git: {url: https://git.example.com/team/falcon}}\n"
        "  evaluation:\n    command: [evaluate.sh]\n    source:\n      git:\n"
        "        url: https://git.example.com/team/tests\n        path: smoke\n"
        "        branch: stable\n"
    )
    buckets = dict.fromkeys(Kind, "gs://models/prod")
    world = World({"models/falcon.yaml": manifest}, settings=PlannerConfig(buckets=buckets))
    settings = settings_of(folder)
    runs = preview(
        world.inputs(),
        model("falcon"),
        image_tag=lambda namespace, key: image_tag(namespace, key, settings),
    )
    found = {run.label: run.spec for run in runs if run.spec is not None}
    jobs = (found["evaluation build"], found["evaluate"])
    return "---\n".join(_checked(render(spec, settings)) for spec in jobs)


def _train_three_buckets(folder: Path) -> str:
    settings = settings_of(
        folder,
        buckets={
            "default": {"url": "s3://models", "driver": "rclone", "secret": "rclone"},
            "bases": {"url": "gs://bases"},
            "data": {"url": "s3://data"},
        },
    )
    spec = train(
        output=f"s3://models/clusters/local/namespaces/default/models/falcon/{KEY}/",
        base=Mounted(BASE_KEY, f"gs://bases/{BASE_KEY}/"),
        dataset=Mounted(DATA_KEY, "s3://data/squad/"),
    )
    objects = render(spec, settings)
    return _checked(objects)


def _train_nodes(folder: Path) -> str:
    settings = settings_of(folder, buckets={"default": {"url": "pvc://shared/models"}})
    spec = train(
        output=f"pvc://shared/models/falcon/{KEY}/",
        base=None,
        dataset=None,
        secret_env={},
        queue="gpus",
        priority="high",
        service_account="trainer",
        resources=Resources(cpu=8, memory=32 << 30, nodes=4),
    )
    objects = render(spec, settings)
    return _checked(objects)


def _collect_claim(folder: Path) -> str:
    """The list of a claim's artifacts, and orders on them."""
    url = "pvc://shared/models/clusters/local/namespaces/default/models/falcon"
    settings = settings_of(folder, buckets={"default": {"url": "pvc://shared/models"}})
    keys = (KEY, BASE_KEY, DATA_KEY)
    (part,) = folders(Wanted(TaskKind.TRAIN, key, f"{url}/{key}/") for key in keys)
    orders = dict(zip(part.wanted, OrderKind, strict=True))
    jobs = (render_collection(part, each, settings, expires=1_800_000_000) for each in ({}, orders))
    return "---\n".join(map(_checked, jobs))


CASES: dict[str, Rendered] = {
    "build.yaml": _build,
    "build-attested.yaml": _build_attested,
    "load-gcs.yaml": _load_gcs,
    "evaluate.yaml": _evaluate,
    "evaluate-own-source.yaml": _evaluate_own_source,
    "train-three-buckets.yaml": _train_three_buckets,
    "train-nodes.yaml": _train_nodes,
    "collect-claim.yaml": _collect_claim,
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_rendered_as_it_was(name: str, tmp_path: Path) -> None:
    again = f"write it anew with python -m {__name__}, and read what changed"
    assert CASES[name](tmp_path) == (GOLDEN / name).read_text(), again


@pytest.mark.parametrize("name", CASES)
def test_what_is_printed_is_what_is_created(name: str, tmp_path: Path) -> None:
    """Also for a reader of YAML 1.1, which kubectl is."""
    text = CASES[name](tmp_path)
    old = YAML(typ="safe", pure=True)
    old.version = (1, 1)
    assert list(old.load_all(text)) == list(YAML(typ="safe").load_all(text))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for file, rendered in CASES.items():
            (GOLDEN / file).write_text(rendered(Path(scratch)))
            sys.stdout.write(f"{GOLDEN / file}\n")
