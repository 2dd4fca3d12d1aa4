"""A configuration with its folder, for the rest of the program."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.config.reporting import ForgeSite, forge_site
from reconciler.config.schema import Config, ConfigError
from reconciler.config.secret_paths import secret_paths
from reconciler.config.tenants import made_tenants
from reconciler.manifests import Tenants
from reconciler.planner import OwnCluster, PlannerConfig, RemoteCluster, RetentionPolicy
from reconciler.signing import KeyFileError, SigningFiles
from reconciler.stores import SCHEMES, has_credentials
from reconciler.types import Kind, Location, Problem, Verify
from reconciler.urls import innermost

#: Bytes of a key.
SHORTEST_KEY = 16
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

    def optional_file(self, name: str | None) -> Path | None:
        """Return a configured file that may rotate; None if none is configured."""
        return self.file(name) if name is not None else None

    @property
    def repository_url(self) -> str:
        """The manifest repository's URL, absolute."""
        url = self.config.repository.url
        return url if _REMOTE.match(url) else self.path(url).as_uri()

    def report_key(self) -> bytes:
        """Read the key that tokens of reports are derived from.

        Empty where there is none, it cannot be read, or it is too short to be one.
        """
        section = self.config.server.progress
        if section is None:
            return b""
        try:
            key = self.file(section.key_file).read_bytes().strip()
        except OSError:
            return b""
        return key if len(key) >= SHORTEST_KEY else b""

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
    def cluster_branches(self) -> dict[str, str]:
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
    def verified_buckets(self) -> dict[str, Verify]:
        """The check of mounted artifacts, by the URLs of configured buckets."""
        named = self.config.buckets.named.values()
        return {b.url.rstrip("/"): Verify(b.verify or Verify.SIZES) for b in named}

    def verified(self, url: str) -> Verify:
        """Return the check of an artifact, that of the innermost bucket."""
        checks = self.verified_buckets
        bucket = innermost(url, checks)
        return checks[bucket] if bucket is not None else Verify.SIZES

    @property
    def signing(self) -> SigningFiles:
        """The keys that sign artifacts, and those that are trusted."""
        section = self.config.signing
        return SigningFiles(
            key=str(self.file(section.key_file).absolute()) if section.key_file else None,
            trusted=tuple(str(self.file(name).absolute()) for name in section.public_key_files),
        )

    def check_signing(self) -> None:
        """Read the keys of artifacts once. Raises ConfigError."""
        try:
            if self.signing:
                self.signing.trusted_keys()
        except KeyFileError as error:
            raise ConfigError(
                [Problem(Location("configuration"), "signing", str(error))]
            ) from error

    @property
    def secret_paths(self) -> tuple[Path, ...]:
        """The files and folders with secrets that the configuration names, absolute."""
        names = dict.fromkeys(secret_paths(self.config))
        return tuple(self.file(name).absolute() for name in names)

    @property
    def sources_allow(self) -> tuple[str, ...]:
        """The globs over source URLs; the local engine also admits ``file``."""
        own = ("file://*",) if self.config.engine == "local" else ()
        return (*self.config.sources.allow, *own)

    @property
    def tenants(self) -> Tenants:
        """The tenants; none if the configuration has none."""
        config = self.config
        return made_tenants(
            config.tenants,
            root=config.repository.path,
            guard_tasks=config.guard.tasks,
            guard_gpus=config.guard.gpus,
        )

    @property
    def pod_namespace(self) -> str | None:
        """The namespace of the daemon's own pod; None outside of a cluster."""
        return os.environ.get("POD_NAMESPACE") or None

    @property
    def own_cluster(self) -> OwnCluster:
        """The places that this cluster's own status may name."""
        config, local = self.config, self.config.engine == "local"
        registry = config.registry
        named = (bucket.url for bucket in config.buckets.named.values())
        return OwnCluster(
            cluster=config.cluster,
            buckets=tuple(dict.fromkeys((*self.buckets.values(), *named))),
            registry=registry.url if registry is not None and not local else None,
            image_folder=(self.root / "images").as_uri() if local else None,
            run_folder=(self.root / "runs").as_uri() if local else None,
            allow_images=tuple(config.allow.images),
        )

    @property
    def mounted_buckets(self) -> frozenset[str]:
        """The buckets on a cluster that pods alone can reach."""
        named = {bucket.url.rstrip("/"): bucket for bucket in self.config.buckets.named.values()}
        return frozenset(
            url
            for url in (bucket.rstrip("/") for bucket in self.own_cluster.buckets)
            if urlsplit(url).scheme not in SCHEMES
            or (
                (bucket := named.get(url)) is not None
                and bucket.driver == "rclone"
                and not has_credentials(url)
            )
        )

    def is_mounted(self, url: str) -> bool:
        """Return whether pods alone can reach the bucket of a URL."""
        buckets = (bucket.rstrip("/") for bucket in self.own_cluster.buckets)
        return innermost(url.rstrip("/"), buckets) in self.mounted_buckets

    @property
    def retention(self) -> RetentionPolicy:
        """The policy of collection."""
        section = self.config.retention
        return RetentionPolicy(
            enabled=section.enabled,
            keep=section.keep,
            days=section.days,
            failed=section.failed,
            grace=timedelta(seconds=section.grace),
            max_share=section.max_share,
            branches=tuple(section.branches),
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
            allow_labels=tuple(config.allow.labels),
            guard_tasks=config.guard.tasks,
            guard_gpus=config.guard.gpus,
            limit_runs=config.limits.runs,
            limit_gpus=config.limits.gpus,
            prune=config.prune.enabled,
            prune_share=config.prune.max_share,
            prune_floor=config.prune.floor,
            history_jobs=config.history.jobs,
            clusters={
                name: RemoteCluster(tuple(cluster.registries), tuple(cluster.buckets))
                for name, cluster in config.clusters.items()
            },
            tenants=self.tenants,
            prices=config.prices.prices,
            guard_cost=config.guard.cost,
            guard_running_gpu_hours=config.guard.running.gpu_hours,
            guard_running_seconds=config.guard.running.time or 0.0,
            budget_month=config.budget.month,
        )
