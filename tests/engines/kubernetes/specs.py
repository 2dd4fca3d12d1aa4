"""Clusters to render for, and what to look at in what comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from reconciler.config import Setup, load_setup
from reconciler.engine import RunSpec
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.job import render
from reconciler.engines.kubernetes.pod_parts import ApiObject

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "kubernetes"
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
