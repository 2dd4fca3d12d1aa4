"""The pod of a build: from a commit to a pushed image.

A build pod has two halves. The first is the same for every builder: an init container fetches the
resolved commit. It alone has the source's credentials, so that no line of a Dockerfile can read
them; it knows private authorities, host keys and submodules, and it reads any URL that Git does.
BuildKit's own Git context will not do: it takes only https URLs that end in .git, hands the
credentials to whatever RUN mounts them, and clears the variables that name a private authority.

The second half is the :class:`Builder`: one function that says what builds the fetched folder and
pushes it. Its termination message is as the wrapper's (:mod:`.termination`), and says what it
pushed:
``{"v": 1, "state": "complete", "image": "<name>@<digest>"}``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol
from urllib.parse import urlsplit

from reconciler.engine import RunSpec
from reconciler.engines.kubernetes.config import ClusterSettings
from reconciler.engines.kubernetes.pod_parts import (
    CONTAINER,
    UNPRIVILEGED,
    ApiObject,
    Fragment,
    annotation_file,
    refuse,
    variables,
)
from reconciler.engines.kubernetes.wrapper import literal
from reconciler.types import GROUP, BuildContext, TaskKey
from reconciler.urls import Pattern

#: Where the fetched commit is, and in it the folder that is the repository's root.
SOURCE = "/source"
CONTEXT = f"{SOURCE}/context"
CA_ANNOTATION = f"{GROUP}/ca"
#: The init container that fetches.
SOURCE_CONTAINER = "source"
DOCKER_CONFIG = "/docker"
#: Of each container, under what the manifest and the templates say: the scheduler has to count a
#: build, and a quota on requests admits no pod without them.
_REQUESTS = {"cpu": "500m", "memory": "1Gi"}

_BUILDKIT_SCRIPT = resources.files(__package__).joinpath("buildkit.sh").read_text(encoding="utf-8")
_SOURCE_SCRIPT = resources.files(__package__).joinpath("source.sh").read_text(encoding="utf-8")
_CREDENTIALS = "/git-credentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestations:
    """Attestations that a builder puts beside an image in the registry.

    ``provenance`` is its mode; None for none. ``sbom`` is the image that writes the SBOM: None for
    no SBOM, empty for the builder's own. ``source`` and ``revision`` are the URL and the commit.
    """

    provenance: str | None
    sbom: str | None
    source: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """The order for a builder.

    ``context`` and ``dockerfile`` are paths, the latter within the former. ``cache`` is a reference
    that keeps the layers of earlier builds; None for none.
    """

    image: str  # with its tag: the key
    cache: str | None
    context: str
    dockerfile: str
    build_args: Mapping[str, str]
    resources: ApiObject
    builder_image: str
    registry_host: str
    insecure: bool
    attestations: Attestations


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPod:
    """A builder's half of the pod.

    ``fragment`` is what the main container needs beyond the source.
    """

    container: ApiObject
    fragment: Fragment


class Builder(Protocol):
    """A way to build, such as :func:`rootless`."""

    def __call__(self, build: BuildRequest, /) -> BuildPod:
        """The half of the pod that builds.

        The caller mounts the source at :data:`SOURCE`, and the registry's credentials at
        :data:`DOCKER_CONFIG`.
        """
        ...


def build_pod(
    spec: RunSpec,
    context: BuildContext,
    settings: ClusterSettings,
    *,
    builder: Builder,
    container_resources: ApiObject,
) -> BuildPod:
    """Render both halves of a build's pod. Raises RenderError."""
    folder = f"{CONTEXT}/{context.path}" if context.path else CONTEXT
    requests = {**_REQUESTS, **container_resources.get("requests", {})}
    container_resources = {**container_resources, "requests": requests}
    made = builder(
        BuildRequest(
            image=image_tag(spec.namespace, spec.key, settings),
            cache=_cache_tag(spec.namespace, context, settings),
            context=folder,
            dockerfile=context.dockerfile,
            build_args=context.build_args,
            resources=container_resources,
            builder_image=settings.images.buildkit,
            registry_host=settings.registry.url.partition("/")[0],
            insecure=settings.registry.insecure,
            attestations=_attestations(context, settings),
        )
    )
    source = _source(context, settings, container_resources)
    fragment = source + _registry(settings) + made.fragment
    mounts = [*made.container.get("volumeMounts", []), *fragment.mounts]
    return BuildPod(container={**made.container, "volumeMounts": mounts}, fragment=fragment)


def image_tag(namespace: str, key: TaskKey, settings: ClusterSettings) -> str:
    """Return the reference that a build pushes: ``<registry>/<namespace>:<key>``."""
    return f"{settings.registry.url}/{namespace}:{key}"


def _cache_tag(namespace: str, context: BuildContext, settings: ClusterSettings) -> str | None:
    """Return the reference of a source's layers, of all its commits.

    A new ``rerun`` asks for everything once more, and so begins without any. It is in the
    repository of the images, so a layer is stored once, and another namespace's builds neither
    read it nor write it.
    """
    if not settings.registry.cache:
        return None
    url = context.url or settings.repository_url
    source = [url, context.path, context.dockerfile, context.rerun]
    digest = hashlib.sha256(json.dumps(source).encode()).hexdigest()[:_CACHE_DIGITS]
    return f"{settings.registry.url}/{namespace}:cache-{digest}"


def _attestations(context: BuildContext, settings: ClusterSettings) -> Attestations:
    """Return the configured attestations.

    Raises RenderError for build arguments that would change them.
    """
    registry = settings.registry
    changed = [name for name in context.build_args if name.startswith(_ATTESTING)]
    if changed and (registry.provenance is not None or registry.sbom):
        raise refuse(f"{min(changed)} in buildArgs would change registry.attestations")
    return Attestations(
        provenance=registry.provenance,
        sbom=(settings.images.sbom or "") if registry.sbom else None,
        source=context.url or settings.repository_url,
        revision=context.commit,
    )


#: Of the hash in a cache's tag.
_CACHE_DIGITS = 16
#: Build arguments that BuildKit takes for options of attestations, in place of those it was given.
_ATTESTING = "BUILDKIT_ATTEST_"


def _source(
    context: BuildContext, settings: ClusterSettings, container_resources: ApiObject
) -> Fragment:
    url = context.url or settings.repository_url
    if url.startswith(("file:", "/")):
        raise refuse(f"a pod cannot read the source {url}, which is on the reconciler's disk")
    mounts: list[ApiObject] = [{"name": "source", "mountPath": SOURCE}]
    volumes: list[ApiObject] = [{"name": "source", "emptyDir": {}}]
    annotations = {}
    if settings.ca is not None:
        annotations[CA_ANNOTATION] = settings.ca
        volumes.append(annotation_file("ca", CA_ANNOTATION, "ca.crt"))
        mounts.append({"name": "ca", "mountPath": "/ca", "readOnly": True})
    secret = settings.build_secret(url)
    if secret is not None:
        volumes.append({"name": "git-credentials", "secret": {"secretName": secret}})
        mounts.append({"name": "git-credentials", "mountPath": _CREDENTIALS, "readOnly": True})
    parts = urlsplit(url)
    container = {
        "name": SOURCE_CONTAINER,
        "image": settings.images.buildkit,
        "command": ["sh", "-c", _SOURCE_SCRIPT, "source"],
        "env": variables(
            {
                "FOLDER": SOURCE,
                "SOURCE_URL": url,
                # Credentials go to this host alone, whatever a submodule or a redirect names.
                "SOURCE_HOST": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
                "SOURCE_COMMIT": context.commit,
                "SOURCE_SUBMODULES": "true" if context.submodules else "false",
                "SOURCE_OWN": "false" if context.url else "true",
                "SOURCE_ALLOW": allow_list(settings.allow_sources),
            }
        ),
        "resources": container_resources,
        "securityContext": dict(UNPRIVILEGED),
        "volumeMounts": mounts,
    }
    return Fragment(
        init_containers=(container,),
        volumes=tuple(volumes),
        mounts=({"name": "source", "mountPath": SOURCE, "readOnly": True},),
        annotations=annotations,
    )


#: Text of a glob that a shell reads otherwise. No URL that the script admits has any of it.
_OTHER_IN_A_SHELL = re.compile(r"\\|\s|\[\^|\[:")


def allow_list(globs: Iterable[str]) -> str:
    """Render ``sources.allow`` for the script: a line of parts for each glob.

    A part that admits any is ``*``; the port ``-`` is that of the scheme.
    """
    lines = []
    for glob in globs:
        pattern = Pattern.of_url(glob)
        user = "*" if pattern.user is None else pattern.user or "-"
        host, port = pattern.host or "-", pattern.port or "-"
        parts = (pattern.scheme or "-", user, host, port, pattern.path or "*")
        if not any(map(_OTHER_IN_A_SHELL.search, parts)):
            lines.append(" ".join(parts))
    return "\n".join(lines)


def _registry(settings: ClusterSettings) -> Fragment:
    secret = settings.registry.secret
    if secret is None:
        return Fragment()
    item = {"key": ".dockerconfigjson", "path": "config.json"}
    return Fragment(
        volumes=({"name": "docker", "secret": {"secretName": secret, "items": [item]}},),
        mounts=({"name": "docker", "mountPath": DOCKER_CONFIG, "readOnly": True},),
    )


# -- BuildKit -------------------------------------------------------------------------------

_STATE = "/buildkit"

_ROOTLESS: dict[str, Any] = {
    "runAsUser": 1000,  # the user that the image has a range of subordinate ids for
    "runAsGroup": 1000,
    "seccompProfile": {"type": "Unconfined"},
    "appArmorProfile": {"type": "Unconfined"},
}
_PRIVILEGED: dict[str, Any] = {"privileged": True}


def rootless(build: BuildRequest, /) -> BuildPod:
    """BuildKit as an ordinary user."""
    return _built(build, _ROOTLESS)


def privileged(build: BuildRequest, /) -> BuildPod:
    """BuildKit as the node's root."""
    return _built(build, _PRIVILEGED)


#: By what ``kubernetes.builder`` calls them.
BUILDERS: dict[str, Builder] = {"buildkit": rootless, "buildkit-privileged": privileged}


def _built(build: BuildRequest, security: dict[str, Any]) -> BuildPod:
    output = f"type=image,name={build.image},push=true"
    if build.insecure:
        output += ",registry.insecure=true"
    arguments = ["--opt", f"filename={build.dockerfile}", "--output", output]
    arguments += _caching(build)
    for option in _attesting(build.attestations):
        arguments += ["--opt", option]
    for name, value in sorted(build.build_args.items()):
        arguments += ["--opt", f"build-arg:{name}={value}"]
    container = {
        "name": CONTAINER,
        "image": build.builder_image,
        "command": ["sh", "-c", _BUILDKIT_SCRIPT, "buildkit"],
        "args": [literal(text) for text in (build.image, build.context, *arguments)],
        "env": variables(
            {"STATE": _STATE, "DOCKER_CONFIG": DOCKER_CONFIG, "BUILDKITD_CONFIG": _config(build)}
        ),
        "resources": build.resources,
        "securityContext": security,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "buildkit", "mountPath": _STATE}],
    }
    volumes = ({"name": "buildkit", "emptyDir": {}},)
    return BuildPod(container=container, fragment=Fragment(volumes=volumes))


def _caching(build: BuildRequest) -> list[str]:
    """Return the options of BuildKit for the cache.

    A cache that cannot be read or written fails no build. As an image's manifest it is stored by
    registries that take nothing else.
    """
    if build.cache is None:
        return []
    place = f"type=registry,ref={build.cache}"
    if build.insecure:
        place += ",registry.insecure=true"
    export = f"{place},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
    return ["--import-cache", place, "--export-cache", export]


def _attesting(attestations: Attestations) -> Iterator[str]:
    """Yield the options of BuildKit for attestations.

    It has the source as a folder, and is told which commit that is.
    """
    if attestations.provenance is not None:
        yield f"attest:provenance=mode={attestations.provenance}"
        yield f"vcs:source={attestations.source}"
        yield f"vcs:revision={attestations.revision}"
    if attestations.sbom is not None:
        yield f"attest:sbom={f'generator={attestations.sbom}' if attestations.sbom else ''}"


def _config(build: BuildRequest) -> str:
    """Return the configuration of buildkitd.

    Nothing is kept, so nothing needs to be collected.
    """
    lines = ["[worker.oci]", "gc = false"]
    if build.insecure:
        lines += [f"[registry.{json.dumps(build.registry_host)}]", "http = true", "insecure = true"]
    return "\n".join([*lines, ""])
