"""Settings of a cluster: the part of the configuration about pods.

Everything a person can get wrong here is found when the configuration is read, with the key that is
wrong; what only a run can get wrong (a GPU type, a profile, a bucket that is not
allowed) is found when it is rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.config import BucketConfig, ConfigError, KubernetesSection, Setup
from reconciler.engines.kubernetes import merge_patch as templates
from reconciler.engines.kubernetes.buckets.interface import Bucket, Directory, Writes
from reconciler.engines.kubernetes.buckets.registry import BY_SCHEME, DRIVERS
from reconciler.engines.kubernetes.pod_parts import ApiObject, RenderError, refuse
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import Gpu, Location, Problem, Verify
from reconciler.urls import admits_bucket, below, has_prefix, path_depth

#: A certificate bundle travels in an annotation, of which a pod has 256 KiB in all.
LARGEST_CA = 64 << 10

_BUILDKIT = "moby/buildkit:v0.34.2"

#: The entry for GPUs without a type.
ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images that the reconciler itself puts into pods.

    ``sbom`` is that of BuildKit where it is None.
    """

    wrapper: str
    buildkit: str
    rclone: str
    sbom: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """The registry that builds push to.

    ``secret`` is a dockerconfigjson Secret, in each namespace. ``cache``: layers are kept there.
    ``provenance`` is the mode of the attestations of provenance, None for none.
    """

    url: str
    insecure: bool = False
    secret: str | None = None
    cache: bool = True
    provenance: str | None = None
    sbom: bool = False


@dataclass(frozen=True, slots=True)
class BuildSecret:
    """The Secret that a build uses for sources below a URL prefix."""

    prefix: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuType:
    """A GPU type's resource name, and the nodes that have it."""

    resource: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[ApiObject, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """The server that pods report progress to.

    ``key`` is None where only the daemon has it; then no token is known. ``ca`` is a PEM bundle.
    """

    url: str
    key: bytes | None
    ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """All settings of a cluster.

    ``ca`` is a PEM bundle; ``templates`` are by kind of task. ``scrubbed``: what a scrub finds
    damaged is made again.
    """

    instance: str
    namespace: str
    images: Images
    registry: RegistryConfig
    repository_url: str
    allow_sources: tuple[str, ...] = ()
    builder: str = "buildkit"
    buckets: tuple[Bucket, ...] = ()
    allow_buckets: tuple[str, ...] = ()
    gpus: Mapping[str, GpuType] = field(default_factory=dict)
    templates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    build_secrets: tuple[BuildSecret, ...] = ()
    ca: str | None = None
    scrubbed: bool = False
    reports: ReportSettings | None = None

    @classmethod
    def from_setup(cls, setup: Setup) -> ClusterSettings:
        """Read the settings of a configuration, whatever its engine.

        Raises ConfigError for what is wrong, and for what only ``engine: kubernetes`` demands.
        """
        config = setup.config
        cluster = config.kubernetes
        registry, default = config.registry, config.buckets.default
        if registry is None or default is None:
            raise ConfigError(
                [_problem("", "set registry.url and buckets.default.url: Jobs use both")]
            )
        found = [*_bucket_problems(config.buckets.named), *_template_problems(cluster)]
        if config.signing.key_file:
            found.append(_problem("signing.keyFile", "nothing is signed on a cluster; remove it"))
        if found:
            raise ConfigError(found)
        rootless = cluster.builder == "buildkit"
        buildkit = cluster.images.buildkit or (f"{_BUILDKIT}-rootless" if rootless else _BUILDKIT)
        return cls(
            instance=cluster.instance,
            namespace=cluster.namespace,
            images=Images(
                wrapper=cluster.images.wrapper,
                buildkit=buildkit,
                rclone=cluster.images.rclone,
                sbom=cluster.images.sbom,
            ),
            registry=RegistryConfig(
                url=registry.url,
                insecure=registry.insecure,
                secret=registry.secret,
                cache=registry.cache,
                provenance=registry.attestations.provenance,
                sbom=registry.attestations.sbom,
            ),
            repository_url=setup.repository_url,
            allow_sources=setup.sources_allow,
            builder=cluster.builder,
            buckets=tuple(_bucket(bucket) for bucket in config.buckets.named.values()),
            allow_buckets=tuple(config.allow.buckets),
            gpus={
                name: GpuType(
                    resource=gpu.resource,
                    node_selector=gpu.node_selector,
                    tolerations=tuple(gpu.tolerations),
                )
                for name, gpu in cluster.gpus.items()
            },
            templates=cluster.templates.model_dump(),
            profiles=cluster.profiles,
            build_secrets=tuple(
                BuildSecret(source.prefix, source.build_secret)
                for source in config.sources.credentials
                if source.build_secret is not None
            ),
            scrubbed=config.retention.verify is not None,
            ca=_certificates("tls.caFile", setup, config.tls.ca_file),
            reports=_reports(setup),
        )

    @property
    def own_secrets(self) -> frozenset[str]:
        """The Secrets of the cluster's operators, which no manifest may name."""
        named = [self.registry.secret, *(bucket.secret for bucket in self.buckets)]
        named += [source.secret for source in self.build_secrets]
        return frozenset(name for name in named if name is not None)

    def build_secret(self, url: str) -> str | None:
        """Return the Secret for a source: that of the longest matching prefix."""
        covering = [s for s in self.build_secrets if has_prefix(url, s.prefix)]
        return max(covering, key=lambda s: path_depth(s.prefix)).secret if covering else None

    def directory(
        self, name: str, url: str, *, namespace: str, read_only: bool, allowed: bool = False
    ) -> Directory:
        """Return a directory by its URL, in its configured bucket. Raises RenderError.

        ``allowed``: ``clusters`` allows the URL already, so that ``allow.buckets`` need not.

        Artifacts are read where they were written: a bucket that has been replaced
        stays in the configuration, under any name, for as long as anything in it is read.
        """
        bucket = self._bucket(url, allowed=allowed)
        _, _, rest = url.partition("://")
        _, _, path = rest.partition("/")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts or not parts:
            raise refuse(f"expected a folder of a bucket, found {url}")
        return Directory(
            name=name,
            bucket=bucket,
            path="/".join(parts),
            read_only=read_only,
            namespace=namespace,
            instance=self.instance,
            rclone_image=self.images.rclone,
        )

    def _bucket(self, url: str, *, allowed: bool) -> Bucket:
        covering = [bucket for bucket in self.buckets if below(url, bucket.url) is not None]
        if covering:
            return max(covering, key=lambda bucket: len(bucket.url))
        scheme, _, rest = url.partition("://")
        driver = BY_SCHEME.get(scheme)
        if driver is None:
            known = ", ".join(sorted(BY_SCHEME))
            code = ReasonCode.BUCKET_DRIVER_MISSING
            raise RenderError(Reason.of(code, url=url, known=known))
        if not allowed and not admits_bucket(url, self.allow_buckets):
            raise RenderError(Reason.of(ReasonCode.BUCKET_NOT_ALLOWED, url=url))
        root = f"{scheme}://{rest.partition('/')[0]}"
        return Bucket(url=root, driver=driver.name, writes=driver.writes[0])


def find_gpu(gpu: Gpu, table: Mapping[str, GpuType]) -> GpuType:
    """Return the entry for a run's GPUs. Raises RenderError."""
    name = gpu.type or ANY
    if name in table:
        return table[name]
    if name == ANY:
        return GpuType()
    known = ", ".join(sorted(table)) or "none"
    raise RenderError(Reason.of(ReasonCode.GPU_TYPE_UNKNOWN, type=name, known=known))


def _bucket(section: BucketConfig) -> Bucket:
    url = section.url.rstrip("/")
    driver = DRIVERS[section.driver] if section.driver else BY_SCHEME[url.partition("://")[0]]
    return Bucket(
        url=url,
        driver=driver.name,
        writes=Writes(section.writes) if section.writes else driver.writes[0],
        sync=section.sync,
        inventory=section.inventory,
        verify=Verify(section.verify) if section.verify else None,
        mount_options=tuple(section.mount_options),
        attributes=section.attributes,
        secret=section.secret,
        remote=section.remote,
    )


def _bucket_problems(buckets: Mapping[str, BucketConfig]) -> Iterator[Problem]:
    for name, bucket in buckets.items():
        path = f"buckets.{name}"
        scheme = bucket.url.partition("://")[0]
        driver = DRIVERS[bucket.driver] if bucket.driver else BY_SCHEME.get(scheme)
        if driver is None:
            yield _problem(f"{path}.url", f"no driver is for {scheme}://; add driver: rclone")
            continue
        if driver.scheme not in (None, scheme):
            yield _problem(f"{path}.driver", f"{driver.name} mounts {driver.scheme}:// URLs")
        if bucket.writes is not None and Writes(bucket.writes) not in driver.writes:
            able = " or ".join(driver.writes)
            yield _problem(f"{path}.writes", f"{driver.name} can only do {able}")
        if bucket.verify == "signature":
            text = "signature is of the local engine; expected sizes or digests on a cluster"
            yield _problem(f"{path}.verify", text)
        given = {
            "mountOptions": bucket.mount_options,
            "attributes": bucket.attributes,
            "secret": bucket.secret,
            "remote": bucket.remote,
        }
        for key, value in given.items():
            if value and key not in driver.takes:
                yield _problem(f"{path}.{key}", f"means nothing to {driver.name}")


def _template_problems(cluster: KubernetesSection) -> Iterator[Problem]:
    groups = {"templates": cluster.templates.model_dump(), "profiles": cluster.profiles}
    for group, members in groups.items():
        for name, template in members.items():
            for field_, message in templates.problems(template):
                yield _problem(f"kubernetes.{group}.{name}.{field_}", message)


def _reports(setup: Setup) -> ReportSettings | None:
    section = setup.config.server.progress
    if section is None:
        return None
    return ReportSettings(
        url=section.url.rstrip("/"),
        key=setup.report_key() or None,
        ca=_certificates("server.progress.caFile", setup, section.ca_file),
    )


def _certificates(field_: str, setup: Setup, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        text = setup.path(name).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([_problem(field_, f"cannot be read: {error}")]) from error
    if len(text) > LARGEST_CA:
        message = f"has {len(text)} bytes; pods take at most {LARGEST_CA}"
        raise ConfigError([_problem(field_, message)])
    return text


def _problem(path: str, message: str) -> Problem:
    return Problem(Location("configuration"), path, message)
