"""The schema of the configuration, and the values derived from it.

Unknown keys are errors, with line and column as in manifests. Relative paths, and a relative
``repository.url``, are relative to the folder of the file.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.config.built_at_use import BuiltAtUse, SectionsSchema
from reconciler.config.kubernetes import (
    BucketsSection,
    KubernetesSection,
    RegistrySection,
)
from reconciler.config.prices import BudgetSection, Money, PricesSection, RunningGuard
from reconciler.config.reporting import (
    FilePath,
    NotificationsSection,
    ProgressSection,
    RequestsSection,
    ReviewSection,
    SecretPath,
    forge_site,
)
from reconciler.config.signing import SigningSection
from reconciler.config.tenants import MOST_TENANTS, TenantSection, tenant_faults
from reconciler.errors import UsageFault
from reconciler.manifests import (
    Bytes,
    GitRef,
    Name,
    RepositoryPath,
    Seconds,
    Section,
    Subdomain,
)
from reconciler.planner import PlannerConfig, RetentionPolicy
from reconciler.types import JSON, Problem
from reconciler.urls import NODE_BOUND


class EnvironmentsSection(Section):
    """Removal of images and their environments that no object uses.

    One is removed once it was not used for ``keep``. A run that needs it later has it built again.
    """

    enabled: bool = True
    keep: Seconds = 7 * 86400.0


class LocalSection(Section):
    """The local engine.

    ``runtime`` is how commands run: as processes of the daemon's user, or in containers of Docker
    or Podman, which then build images too. ``network`` is that of containers. ``isolation`` hides
    the daemon's processes, secrets and state from processes: auto where the machine allows it,
    required to start nowhere else. ``slots`` are CPU cores; by default all of this machine's.
    ``secrets`` is the folder of secretEnv: <name>/<key> for objects of the namespace default,
    <namespace>/<name>/<key> for others.
    """

    root: FilePath = "./state"
    runtime: Literal["process", "docker", "podman"] = "process"
    network: Literal["host", "bridge", "none"] = "host"
    isolation: Literal["auto", "required", "none"] = "auto"
    slots: Annotated[int, Field(ge=1, le=4096)] | None = None
    secrets: SecretPath = "./secrets"
    environments: EnvironmentsSection = Field(default_factory=EnvironmentsSection.of_defaults)


#: Its defaults are the defaults of the sections below.
_PLANNER = PlannerConfig()
_RETENTION = RetentionPolicy()


class ConfigError(UsageFault):
    """An invalid configuration; every problem has its location."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


LARGEST_PORT = 65535
STATUS_BRANCH = "reconciler/status/{cluster}"

ImageGlob = Annotated[str, Field(pattern=r"^[^\s/:@]+(:[0-9*]+)?(/[^\s@]*)?$", max_length=512)]
LabelGlob = Annotated[str, Field(pattern=r"^\S+$", max_length=317)]
BucketGlob = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://\S+$", max_length=2048)]


class CredentialsSection(Section):
    """Credentials for a remote.

    Files may rotate; they are read at each use.
    """

    username: str | None = None
    password_file: SecretPath | None = None
    ssh_key_file: SecretPath | None = None
    known_hosts_file: FilePath | None = None


class SourceCredentials(CredentialsSection):
    """Read-only credentials for every source whose URL has this prefix.

    ``buildSecret`` is a Secret in the namespaces where such sources are built, of type
    kubernetes.io/basic-auth or kubernetes.io/ssh-auth (then with a key known_hosts too).
    """

    prefix: Annotated[str, Field(min_length=1)]
    build_secret: Subdomain | None = None


class VerifySection(Section):
    """Signatures that commits of the manifest repository need.

    ``signers`` is an allowed-signers file of SSH, ``revoked`` a list of revoked SSH keys,
    ``keyring`` a file of OpenPGP public keys. ``mode`` head checks the head of the branch; every
    checks each commit that is new since the last one in force.
    """

    signers: FilePath | None = None
    revoked: FilePath | None = None
    keyring: FilePath | None = None
    mode: Literal["head", "every"] = "head"

    @model_validator(mode="after")
    def _some_signers(self) -> Self:
        if self.signers is None and self.keyring is None:
            raise ValueError("expected signers or keyring")
        return self


class RepositorySection(Section):
    """The manifest repository. ``path`` alone decides which manifests are this daemon's."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    branch: GitRef = "main"
    path: RepositoryPath = ""
    interval: Seconds = 30.0
    credentials: CredentialsSection = Field(default_factory=CredentialsSection.of_defaults)
    verify: VerifySection | None = None


class AuthorSection(Section):
    """The author of status commits."""

    name: Annotated[str, Field(min_length=1, max_length=255)] = "reconciler"
    email: Annotated[str, Field(min_length=1, max_length=255)] = "reconciler@localhost"


class StatusSection(Section):
    """The branch of status files, and the least interval between pushes."""

    branch: GitRef = STATUS_BRANCH
    interval: Seconds = 5.0
    author: AuthorSection = Field(default_factory=AuthorSection.of_defaults)
    signing_key_file: Annotated[
        SecretPath | None, Field(description="An SSH key without a passphrase that signs commits.")
    ] = None


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
    """Globs over images, bucket URLs and labels that manifests may name.

    ``buckets`` is beyond the configured ones; * is no file and no pvc, which must be named. Host
    and path are matched apart; docs/security.md has the rules of all allow-lists.
    """

    images: list[str] = Field(default_factory=lambda: ["*"])
    buckets: list[str] = Field(default_factory=list)
    labels: Annotated[
        list[LabelGlob],
        Field(
            default_factory=list,
            max_length=1000,
            description="Labels of manifests that Jobs and pods get, by name, such as team.",
        ),
    ]


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

    ``tasks``: of artifacts that are made again. ``gpus``: of these, and of new objects. ``cost``:
    of all, by their forecasts (0: none; needs prices). ``running``: of runs that it would cancel.
    """

    tasks: Annotated[int, Field(ge=0)] = _PLANNER.guard_tasks
    gpus: Annotated[int, Field(ge=0)] = _PLANNER.guard_gpus
    cost: Money = _PLANNER.guard_cost
    running: RunningGuard = Field(default_factory=RunningGuard.of_defaults)


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


class RetentionSection(Section):
    """The care of complete artifacts.

    With ``enabled`` an artifact that nothing refers to is hidden, and removed after ``grace``. Of
    an object the newest ``keep`` artifacts stay, and all younger than ``days`` days. What would
    take more than ``maxShare`` of an object's bytes, or of all, is held. What failed attempts have
    left is removed ``failed`` days after the last one.
    """

    enabled: bool = _RETENTION.enabled
    keep: Annotated[int, Field(ge=0, le=10_000)] = _RETENTION.keep
    days: Annotated[float, Field(ge=0, le=36_500, strict=False)] = _RETENTION.days
    failed: Annotated[float, Field(ge=0, le=36_500, strict=False)] = _RETENTION.failed
    grace: Seconds = _RETENTION.grace.total_seconds()
    max_share: Annotated[float, Field(ge=0, le=1, strict=False)] = _RETENTION.max_share
    branches: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]],
        Field(
            default_factory=list,
            max_length=100,
            description="Globs of branches of the manifest repository; what their heads ask for "
            "stays. The branch that is synced, and open pull requests, count without.",
        ),
    ]
    verify: Annotated[
        Seconds | None,
        Field(
            description="How often each current artifact is compared with what was recorded of it; "
            "what is found lost or damaged is made again. On a cluster the daemon reads buckets of "
            "s3://, gs:// and az:// for it, with its environment's credentials. Default: never."
        ),
    ] = None


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
    answers requests for the daemon's own machine, and those for one of ``hosts`` that come from a
    proxy: on the loopback address, or with the secret of ``proxySecretFile`` in the header
    ``X-Reconciler-Proxy-Secret``. ``metricsObjects`` is the largest number of objects with metrics
    of their own.
    """

    address: Annotated[str, Field(pattern=r"^(\S*:\d{1,5})?$"), AfterValidator(_with_port)] = (
        "127.0.0.1:8080"
    )
    webhook_secret_file: SecretPath | None = None
    page: bool = True
    metrics_objects: Annotated[int, Field(ge=0, le=100_000)] = 1000
    hosts: list[Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.:-]{0,251}[a-z0-9])?$")]] = Field(
        default_factory=list
    )
    proxy_secret_file: SecretPath | None = None
    progress: ProgressSection | None = None


class LogSection(Section):
    """The log. auto: text on terminals, else JSON; once: warnings."""

    format: Literal["auto", "text", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section):
    """The whole file."""

    cluster: Name = "local"
    repository: RepositorySection
    status: BuiltAtUse[StatusSection] = Field(default_factory=StatusSection.of_defaults)
    engine: Literal["local", "kubernetes"] = "local"
    local: BuiltAtUse[LocalSection] = Field(default_factory=LocalSection.of_defaults)
    kubernetes: BuiltAtUse[KubernetesSection] = Field(default_factory=KubernetesSection.of_defaults)
    registry: BuiltAtUse[RegistrySection] | None = None
    buckets: BuiltAtUse[BucketsSection] = Field(default_factory=BucketsSection.of_defaults)
    sources: BuiltAtUse[SourcesSection] = Field(default_factory=SourcesSection.of_defaults)
    allow: BuiltAtUse[AllowSection] = Field(default_factory=AllowSection.of_defaults)
    tenants: Annotated[
        list[BuiltAtUse[TenantSection]],
        Field(
            default_factory=list,
            max_length=MOST_TENANTS,
            description="Who may use what. Default: one tenant, with every path and everything.",
        ),
    ]
    prices: BuiltAtUse[PricesSection] = Field(default_factory=PricesSection.of_defaults)
    guard: BuiltAtUse[GuardSection] = Field(default_factory=GuardSection.of_defaults)
    budget: BuiltAtUse[BudgetSection] = Field(default_factory=BudgetSection.of_defaults)
    limits: BuiltAtUse[LimitsSection] = Field(default_factory=LimitsSection.of_defaults)
    prune: BuiltAtUse[PruneSection] = Field(default_factory=PruneSection.of_defaults)
    clusters: Annotated[
        dict[Name, BuiltAtUse[ClusterSection]],
        Field(default_factory=dict, description="Other clusters, whose artifacts may be used."),
    ]
    history: BuiltAtUse[HistorySection] = Field(default_factory=HistorySection.of_defaults)
    retention: BuiltAtUse[RetentionSection] = Field(default_factory=RetentionSection.of_defaults)
    signing: BuiltAtUse[SigningSection] = Field(default_factory=SigningSection.of_defaults)
    tls: BuiltAtUse[TlsSection] = Field(default_factory=TlsSection.of_defaults)
    server: BuiltAtUse[ServerSection] = Field(default_factory=ServerSection.of_defaults)
    notifications: BuiltAtUse[NotificationsSection] | None = None
    review: BuiltAtUse[ReviewSection] | None = None
    requests: BuiltAtUse[RequestsSection] | None = None
    log: BuiltAtUse[LogSection] = Field(default_factory=LogSection.of_defaults)

    @model_validator(mode="after")
    def _complete(self) -> Self:
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
    def _signatures_have_keys(self) -> Self:
        bucket = self.signing.missing_for(self.buckets.named)
        if bucket is not None:
            raise ValueError(
                f"buckets.{bucket}.verify is signature: set signing.keyFile or "
                "signing.publicKeyFiles, as without a key nothing is valid"
            )
        return self

    @model_validator(mode="after")
    def _tenants_are_apart(self) -> Self:
        faults = list(tenant_faults(self.tenants, verified=self.repository.verify is not None))
        if faults:
            raise ValueError("; ".join(faults[:10]))
        return self

    @model_validator(mode="after")
    def _costs_have_prices(self) -> Self:
        costs = [self.guard.cost, self.budget.month]
        for tenant in self.tenants:
            costs += [tenant.budget.month, (tenant.guard.cost or 0.0) if tenant.guard else 0.0]
        if any(costs) and not self.prices.prices:
            raise ValueError("guard.cost and budget.month need prices: without, nothing costs")
        return self

    @model_validator(mode="after")
    def _forge_is_known(self) -> Self:
        if self.review is not None:
            forge_site(self.review, self.repository.url)
        elif self.requests is not None:
            raise ValueError("requests needs review: the forge and its token")
        return self

    @model_validator(mode="after")
    def _others_are_others(self) -> Self:
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


def config_schema() -> dict[str, JSON]:
    """Return the JSON Schema of the file."""
    schema: dict[str, JSON] = Config.model_json_schema(
        by_alias=True, mode="validation", schema_generator=SectionsSchema
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
