"""Checks of manifests against the daemon's configuration, for ``validate``.

What an engine or a source look-up would refuse is said before, with file, line and field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from reconciler.git import GitError, resolve_url
from reconciler.manifests import CommandSection, Manifest, ModelManifest, Path, RunSection
from reconciler.reasons import Reason, ReasonCode, message
from reconciler.types import Problem
from reconciler.urls import admits_url

if TYPE_CHECKING:
    from reconciler.config import Setup


def configuration_problems(manifests: Iterable[Manifest], setup: Setup) -> Iterator[Problem]:
    """Yield what the configuration does not admit, or does not know."""
    for manifest in manifests:
        yield from _sources(manifest, setup)
        if setup.config.engine == "kubernetes":
            for path, section in run_sections(manifest):
                for field, reason in _refused(section, setup):
                    yield manifest.problem((*path, *field), message(reason))


def run_sections(manifest: Manifest) -> Iterator[tuple[Path, RunSection]]:
    """Yield the sections of a manifest's tasks, with their paths."""
    spec = manifest.document.spec
    yield ("spec", "build"), spec.build
    yield ("spec", "load"), spec.load
    if isinstance(manifest.document, ModelManifest):
        model = manifest.document.spec
        if model.training is not None:
            yield ("spec", "training"), model.training
        if model.evaluation is not None:
            yield ("spec", "evaluation"), model.evaluation


def _sources(manifest: Manifest, setup: Setup) -> Iterator[Problem]:
    for field, git in manifest.git_sources.items():
        if git.url == ".":
            continue
        path: Path = (*field.path, "git", "url")
        try:
            url = resolve_url(setup.repository_url, git.url)
        except GitError as error:
            yield manifest.problem(path, str(error))
            continue
        if not admits_url(url, setup.sources_allow):
            reason = Reason.of(ReasonCode.SOURCE_NOT_ALLOWED, url=url)
            yield manifest.problem(path, message(reason))


def _refused(section: RunSection, setup: Setup) -> Iterator[tuple[Path, Reason]]:
    """Yield the fields that a run on Kubernetes would be refused for."""
    cluster = setup.config.kubernetes
    if section.profile is not None and section.profile not in cluster.profiles:
        code, known = ReasonCode.PROFILE_UNKNOWN, _listed(cluster.profiles)
        yield ("profile",), Reason.of(code, profile=section.profile, known=known)
    gpu = section.resources.gpu
    if gpu is not None and gpu.type is not None and gpu.type not in cluster.gpus:
        code, known = ReasonCode.GPU_TYPE_UNKNOWN, _listed(cluster.gpus)
        yield ("resources", "gpu", "type"), Reason.of(code, type=gpu.type, known=known)
    if isinstance(section, CommandSection):
        own = _own_secrets(setup)
        for variable, key in section.secret_env.items():
            if key.name in own:
                code = ReasonCode.SECRET_RESERVED
                reason = Reason.of(code, variable=variable, secret=key.name)
                yield ("secretEnv", variable, "name"), reason


def _own_secrets(setup: Setup) -> frozenset[str | None]:
    """The Secrets of the cluster's operators; None may be among them."""
    config = setup.config
    return frozenset(
        [
            config.registry.secret if config.registry is not None else None,
            *(bucket.secret for bucket in config.buckets.named.values()),
            *(source.build_secret for source in config.sources.credentials),
        ]
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
