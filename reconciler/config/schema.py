"""The schema of the configuration, and the values derived from it.

Unknown keys are errors, with line and column as in manifests. Relative paths, and a relative
``repository.url``, are relative to the folder of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from reconciler.config.kubernetes import (
    BucketsSection,
    KubernetesSection,
    RegistrySection,
)
from reconciler.config.local import LocalSection
from reconciler.config.reporting import (
    FilePath,
    ForgeSite,
    NotificationsSection,
    ReviewSection,
    forge_site,
)
from reconciler.errors import UsageFault
from reconciler.manifests import (
    Admission,
    Bytes,
    GitRef,
    Name,
    RepositoryPath,
    Seconds,
    Section,
    Subdomain,
)
from reconciler.patterns import NODE_BOUND
from reconciler.planner import PlannerConfig, RemoteCluster
from reconciler.types import JSON, Kind, Problem

#: Its defaults are the defaults of the sections below.
_PLANNER = PlannerConfig()


class ConfigError(UsageFault):
    """An invalid configuration; every problem has its location."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


LARGEST_PORT = 65535
STATUS_BRANCH = "reconciler/status/{cluster}"

ImageGlob = Annotated[str, Field(pattern=r"^[^\s/:@]+(:[0-9*]+)?(/[^\s@]*)?$", max_length=512)]
BucketGlob = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://\S+$", max_length=2048)]


class CredentialsSection(Section):
    """Credentials for a remote.

    Files may rotate; they are read at each use.
    """

    username: str | None = None
    password_file: FilePath | None = None
    ssh_key_file: FilePath | None = None
    known_hosts_file: FilePath | None = None


class SourceCredentials(CredentialsSection):
    """Read-only credentials for every source whose URL has this prefix.

    ``buildSecret`` is a Secret in the namespaces where such sources are built, of type
    kubernetes.io/basic-auth or kubernetes.io/ssh-auth (then with a key known_hosts too).
    """

    prefix: Annotated[str, Field(min_length=1)]
    build_secret: Subdomain | None = None


class RepositorySection(Section):
    """The manifest repository. ``path`` alone decides which manifests are this daemon's."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    branch: GitRef = "main"
    path: RepositoryPath = ""
    interval: Seconds = 30.0
    credentials: CredentialsSection = Field(default_factory=CredentialsSection)


class AuthorSection(Section):
    """The author of status commits."""

    name: Annotated[str, Field(min_length=1, max_length=255)] = "reconciler"
    email: Annotated[str, Field(min_length=1, max_length=255)] = "reconciler@localhost"


class StatusSection(Section):
    """The branch of status files, and the least interval between pushes."""

    branch: GitRef = STATUS_BRANCH
    interval: Seconds = 5.0
    author: AuthorSection = Field(default_factory=AuthorSection)


class SourcesSection(Section):
    """Git sources: the URLs that may be read, interval and credentials.

    ``allow`` are globs over resolved URLs; docs/security.md has the rules of all allow-lists.
    """

    allow: list[str] = Field(default_factory=lambda: ["https://*", "ssh://*"])
    interval: Seconds = 300.0
    max_size: Annotated[
        Bytes, Field(description="Of what is fetched of a source at once, packed by Git.")
    ] = 256 << 20
    credentials: list[SourceCredentials] = Field(default_factory=list)


class AllowSection(Section):
    """Globs over image references and over bucket URLs that manifests may name.

    ``buckets`` is beyond the configured ones; * is no file and no pvc, which must be named. Host
    and path are matched apart; docs/security.md has the rules of all allow-lists.
    """

    images: list[str] = Field(default_factory=lambda: ["*"])
    buckets: list[str] = Field(default_factory=list)


class ClusterSection(Section):
    """Another cluster: the images and buckets that its status may name.

    ``registries`` are globs over images, ``buckets`` over the URLs of artifacts; each also covers
    everything below it. In ``branch``, where the status is, {cluster} stands for that cluster's
    name. docs/security.md has the rules of all allow-lists.
    """

    registries: list[ImageGlob] = Field(default_factory=list)
    buckets: list[BucketGlob] = Field(default_factory=list)
    branch: GitRef = STATUS_BRANCH


class GuardSection(Section):
    """Limits of what one sync makes without a release.

    ``tasks``: of artifacts that are made again. ``gpus``: of these, and of new objects.
    """

    tasks: Annotated[int, Field(ge=0)] = _PLANNER.guard_tasks
    gpus: Annotated[int, Field(ge=0)] = _PLANNER.guard_gpus


class LimitsSection(Section):
    """Limits of what runs at once; 0 is no limit."""

    runs: Annotated[int, Field(ge=0)] = _PLANNER.limit_runs
    gpus: Annotated[int, Field(ge=0)] = _PLANNER.limit_gpus


class PruneSection(Section):
    """Deletion of objects whose manifest is gone.

    ``maxShare`` binds above ``floor`` objects.
    """

    enabled: bool = _PLANNER.prune
    max_share: Annotated[float, Field(ge=0, le=1, strict=False)] = _PLANNER.prune_share
    floor: Annotated[int, Field(ge=0)] = _PLANNER.prune_floor


class HistorySection(Section):
    """The number of finished runs of an object that are kept."""

    jobs: Annotated[int, Field(ge=0)] = _PLANNER.history_jobs


class TlsSection(Section):
    """A private certificate authority for Git remotes and, in builds, the registry."""

    ca_file: FilePath | None = None


def _with_port(address: str) -> str:
    port = int(address.rpartition(":")[2] or 0)
    if port > LARGEST_PORT:
        raise ValueError(f"expected a port of at most {LARGEST_PORT}, found {port}")
    return address


class ServerSection(Section):
    """The address for metrics, health, /webhook and the page.

    Port 0 takes a free one; with an empty address nothing is served. ``webhookSecretFile`` holds
    the secret that a forge signs its webhooks with; without it there is no /webhook. The page
    answers requests for the daemon's own machine and for one of ``hosts``. ``metricsObjects`` is
    the largest number of objects with metrics of their own.
    """

    address: Annotated[str, Field(pattern=r"^(\S*:\d{1,5})?$"), AfterValidator(_with_port)] = (
        "127.0.0.1:8080"
    )
    webhook_secret_file: FilePath | None = None
    page: bool = True
    metrics_objects: Annotated[int, Field(ge=0, le=100_000)] = 1000
    hosts: list[Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.:-]{0,251}[a-z0-9])?$")]] = Field(
        default_factory=list
    )


class LogSection(Section):
    """The log. auto: text on a terminal, JSON otherwise."""

    format: Literal["auto", "text", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """The whole file."""

    cluster: Name = "local"
    repository: RepositorySection
    status: StatusSection = Field(default_factory=StatusSection)
    engine: Literal["local", "kubernetes"] = "local"
    local: LocalSection = Field(default_factory=LocalSection)
    kubernetes: KubernetesSection = Field(default_factory=KubernetesSection)
    registry: RegistrySection | None = None
    buckets: BucketsSection = Field(default_factory=BucketsSection)
    sources: SourcesSection = Field(default_factory=SourcesSection)
    allow: AllowSection = Field(default_factory=AllowSection)
    guard: GuardSection = Field(default_factory=GuardSection)
    limits: LimitsSection = Field(default_factory=LimitsSection)
    prune: PruneSection = Field(default_factory=PruneSection)
    clusters: Annotated[
        dict[Name, ClusterSection],
        Field(default_factory=dict, description="Other clusters, whose artifacts may be used."),
    ]
    history: HistorySection = Field(default_factory=HistorySection)
    tls: TlsSection = Field(default_factory=TlsSection)
    server: ServerSection = Field(default_factory=ServerSection)
    notifications: NotificationsSection | None = None
    review: ReviewSection | None = None
    log: LogSection = Field(default_factory=LogSection)

    @model_validator(mode="after")
    def _complete(self) -> Config:
        if self.engine == "kubernetes":
            missing = [
                what
                for what, there in (
                    ("registry.url: where built images go", self.registry),
                    ("buckets.default.url: where artifacts go", self.buckets.default),
                )
                if there is None
            ]
            if missing:
                raise ValueError(f"engine: kubernetes needs {' and '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _forge_is_known(self) -> Config:
        if self.review is not None:
            forge_site(self.review, self.repository.url)
        return self

    @model_validator(mode="after")
    def _others_are_others(self) -> Config:
        if self.cluster in self.clusters:
            raise ValueError(f"clusters names {self.cluster}, which is this cluster itself")
        own = self.status.branch.replace("{cluster}", self.cluster)
        if own == self.repository.branch:
            raise ValueError(f"status.branch is {own}, which the manifests are on")
        branches = {own: self.cluster}
        for name, section in self.clusters.items():
            branch = section.branch.replace("{cluster}", name)
            if branch in branches:
                raise ValueError(
                    f"clusters {branches[branch]} and {name} cannot both have the status branch "
                    f"{branch}"
                )
            branches[branch] = name
            bound = [url for url in section.buckets if url.partition("://")[0] in NODE_BOUND]
            if bound:
                raise ValueError(
                    f"clusters.{name}.buckets names {bound[0]}, which only that cluster's own "
                    "nodes can reach"
                )
        return self


_REMOTE = re.compile(r"^([a-z][a-z0-9+.-]*://|[^/\s]+@[^/\s:]+:|[A-Za-z0-9.-]{2,}:(?!//))")


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration and its folder, which relative paths refer to."""

    config: Config
    folder: Path

    def path(self, name: str) -> Path:
        """Return a configured path as an absolute one, with links resolved now."""
        return self.file(name).resolve()

    def file(self, name: str) -> Path:
        """Return a configured file that may rotate, with its links unresolved.

        Kubernetes mounts a Secret by links, and removes their targets once it has changed: links
        are followed at each use.
        """
        return self.folder / Path(name).expanduser()

    @property
    def repository_url(self) -> str:
        """The manifest repository's URL, absolute."""
        url = self.config.repository.url
        return url if _REMOTE.match(url) else self.path(url).as_uri()

    @property
    def root(self) -> Path:
        """The folder of mirrors and of the local engine's state."""
        return self.path(self.config.local.root)

    @property
    def environments_keep(self) -> timedelta | None:
        """The time for which unused environments are kept; None: for ever."""
        section = self.config.local.environments
        return timedelta(seconds=section.keep) if section.enabled else None

    @property
    def status_branch(self) -> str:
        """The branch that status is committed to."""
        return self.config.status.branch.replace("{cluster}", self.config.cluster)

    @property
    def peer_branches(self) -> dict[str, str]:
        """The status branch of each other cluster, by its name."""
        clusters = self.config.clusters
        return {name: c.branch.replace("{cluster}", name) for name, c in clusters.items()}

    @property
    def forge(self) -> ForgeSite | None:
        """The forge whose pull requests are planned, if there is one."""
        review = self.config.review
        return forge_site(review, self.config.repository.url) if review is not None else None

    @property
    def buckets(self) -> dict[Kind, str]:
        """The bucket of each kind's artifacts."""
        asked = self.config.buckets
        default = (
            asked.default.url if asked.default else (self.root / "buckets" / "default").as_uri()
        )
        return {
            Kind.MODEL: default,
            Kind.DATASET: asked.datasets.url if asked.datasets else default,
        }

    @property
    def sources_allow(self) -> tuple[str, ...]:
        """The globs over source URLs; the local engine also admits ``file``."""
        own = ("file://*",) if self.config.engine == "local" else ()
        return (*self.config.sources.allow, *own)

    @property
    def admission(self) -> Admission:
        """The rules for what manifests may name."""
        cluster, named = self.config.kubernetes, self.config.buckets.named
        served = (*cluster.namespaces, cluster.namespace) if cluster.namespaces else ()
        return Admission(
            cluster=self.config.cluster,
            namespaces=served if self.config.engine == "kubernetes" else None,
            artifacts=tuple(dict.fromkeys(self.buckets.values())),
            buckets=tuple({*self.buckets.values(), *(bucket.url for bucket in named.values())}),
        )

    @property
    def settings(self) -> PlannerConfig:
        """The planner's part of the configuration."""
        config = self.config
        return PlannerConfig(
            cluster=config.cluster,
            instance=config.kubernetes.instance,
            buckets=self.buckets,
            allow_images=tuple(config.allow.images),
            guard_tasks=config.guard.tasks,
            guard_gpus=config.guard.gpus,
            limit_runs=config.limits.runs,
            limit_gpus=config.limits.gpus,
            prune=config.prune.enabled,
            prune_share=config.prune.max_share,
            prune_floor=config.prune.floor,
            history_jobs=config.history.jobs,
            peers={
                name: RemoteCluster(tuple(peer.registries), tuple(peer.buckets))
                for name, peer in config.clusters.items()
            },
        )


def config_schema() -> dict[str, JSON]:
    """Return the JSON Schema of the file."""
    schema: dict[str, JSON] = Config.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
