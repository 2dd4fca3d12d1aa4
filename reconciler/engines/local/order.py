"""From an order (:class:`RunSpec`) to what this machine carries out (:class:`Job`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconciler.engine import EngineError, ImageGoneError, RunSpec
from reconciler.engines.local.build import image_result
from reconciler.engines.local.job import Job
from reconciler.engines.local.layout import Image, Layout, path_of
from reconciler.manifests import param_variables
from reconciler.types import TaskKey


@dataclass(frozen=True, slots=True)
class Terms:
    """What an engine says of every run: seconds of grace and of the first retry's pause."""

    layout: Layout
    secrets: Path | None
    grace: float
    retry_delay: float


def job_for(spec: RunSpec, terms: Terms) -> Job:
    """The job of an order. Raises EngineError where this engine cannot carry it out."""
    if spec.build is not None:
        return Job(
            name=spec.name,
            task=spec.task.value,
            key=spec.key,
            root=str(terms.layout.root),
            timeout=spec.timeout,
            retries=spec.retries,
            grace=terms.grace,
            retry_delay=terms.retry_delay,
            commit=spec.build.commit,
            tree=spec.build.tree,
        )
    if not spec.command:
        raise EngineError(f"{spec.task} has no command", permanent=True)
    return Job(
        name=spec.name,
        task=spec.task.value,
        key=spec.key,
        root=str(terms.layout.root),
        timeout=spec.timeout,
        retries=spec.retries,
        grace=terms.grace,
        retry_delay=terms.retry_delay,
        nodes=spec.resources.nodes,
        gpus=spec.resources.gpu.count if spec.resources.gpu else 0,
        command=spec.command,
        env={**spec.env, **param_variables(spec.params)},
        secret_env={name: (key.name, key.key) for name, key in spec.secret_env.items()},
        secrets=str(terms.secrets) if terms.secrets else None,
        image=str(_image(spec, terms.layout)),
        output=str(_directory("the artifact", spec.output)),
        output_url=spec.output,
        output_kind=spec.output_kind.value,
        base=str(_directory("the base", spec.base.url)) if spec.base else None,
        dataset=str(_directory("the dataset", spec.dataset.url)) if spec.dataset else None,
        lineage={**spec.lineage, "params": dict(spec.params)},
    )


def _image(spec: RunSpec, layout: Layout) -> Path:
    path = path_of(spec.image or "")
    if path is None:
        raise EngineError(
            f"this engine runs source trees, not container images: {spec.image}; use a git "
            "source, or a cluster",
            permanent=True,
        )
    if path.parent != layout.root / "images" or image_result(Image(path)) is None:
        said = f"the image {spec.image} is not there any more; it has to be built again"
        raise ImageGoneError(said, TaskKey(path.name))
    return path


def _directory(what: str, url: str | None) -> Path:
    path = path_of(url or "")
    if path is None:
        raise EngineError(
            f"this engine reads and writes directories: expected a file:// URL for {what}, "
            f"found {url}",
            permanent=True,
        )
    return path
