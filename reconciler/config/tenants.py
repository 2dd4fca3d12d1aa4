"""The section of the configuration for tenants."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from reconciler.config.prices import BudgetSection, Money
from reconciler.config.reporting import FilePath
from reconciler.manifests import Name, RepositoryPath, Section, Subdomain, Tenant, Tenants
from reconciler.urls import admits_name


def _path_glob(glob: str) -> str:
    parts = glob.split("/")
    if {"", ".", ".."} & {*parts} or any("**" in part and part != "**" for part in parts):
        raise ValueError(
            f'expected a path below repository.path, such as team/**, found "{glob:.80}"'
        )
    if any(other in glob for other in _OTHER_DIALECTS):
        raise ValueError(f"expected *, ?, [a-z] and [!a-z] alone as wildcards, found {glob!r:.80}")
    return glob


#: In other globs these negate, escape and name classes; here they would stand for themselves.
_OTHER_DIALECTS = ("[^", "\\", "[:")
Glob = Annotated[str, Field(min_length=1, max_length=512)]
PathGlob = Annotated[Glob, AfterValidator(_path_glob)]
NameGlob = Annotated[str, Field(pattern=r"^[^\s/]+$", max_length=253)]
Names = Annotated[list[NameGlob], Field(default_factory=list, max_length=1000)]
Globs = Annotated[list[Glob], Field(default_factory=list, max_length=1000)]
MOST_TENANTS = 200


class TenantReferences(Section):
    """Tenants with usable objects, and those that may use this one's.

    ``to``, left out: each tenant that has this one in its ``from``. Its own it may always use.
    """

    from_: Annotated[list[Name], Field(alias="from", default_factory=list, max_length=1000)]
    to: Annotated[list[Name], Field(default_factory=list, max_length=1000)]


class TenantLimits(Section):
    """Limits of a tenant's runs at once; 0 is no limit."""

    runs: Annotated[int, Field(ge=0)] = 0
    gpus: Annotated[int, Field(ge=0)] = 0


class TenantGuard(Section):
    """A guard over a tenant's objects alone.

    A key that is left out is as in ``guard``, but for ``cost``, which is then none.
    """

    tasks: Annotated[int | None, Field(ge=0)] = None
    gpus: Annotated[int | None, Field(ge=0)] = None
    cost: Money | None = None


class TenantUser(Section):
    """The service account as which a tenant's Jobs are created."""

    namespace: Name
    name: Subdomain

    @property
    def user(self) -> str:
        """Its name as a user of the API server."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"


class TenantSection(Section):
    """A set of paths, and what their manifests may use.

    docs/tenants.md has the rules.
    ``paths`` are below ``repository.path``. From ``secrets`` to ``gpus`` all are globs, and a list
    that is left out admits nothing. GPUs without a type are ``any`` in ``gpus``. ``releases`` are
    files below ``repository.path`` in which a line releases this tenant's holds.
    """

    name: Name
    paths: Annotated[
        list[PathGlob],
        Field(
            min_length=1,
            max_length=100,
            description="Globs of whole paths: * stays in a folder, ** crosses folders.",
        ),
    ]
    namespaces: Annotated[
        list[NameGlob],
        Field(min_length=1, max_length=1000, description="The first tenant that matches has it."),
    ]
    references: TenantReferences = Field(default_factory=TenantReferences.of_defaults)
    secrets: Annotated[Names, Field(description="Of secretEnv.")]
    service_accounts: Annotated[Names, Field(description="Of serviceAccount.")]
    queues: Annotated[Names, Field(description="Of queue.")]
    priorities: Annotated[Names, Field(description="Of priority.")]
    profiles: Annotated[Names, Field(description="Of profile.")]
    images: Annotated[Globs, Field(description="Of source.image, beside allow.images.")]
    buckets: Annotated[Globs, Field(description="Of source.bucket and load.from.")]
    sources: Annotated[Globs, Field(description="Of source.git, beside sources.allow.")]
    gpus: Annotated[Names, Field(description="Of resources.gpu.type; any for GPUs without one.")]
    limits: TenantLimits = Field(default_factory=TenantLimits.of_defaults)
    guard: Annotated[TenantGuard | None, Field(description="Default: none of its own.")] = None
    budget: BudgetSection = Field(default_factory=BudgetSection.of_defaults)
    releases: Annotated[
        list[RepositoryPath],
        Field(default_factory=list, max_length=8, description="Files, not globs."),
    ]
    signers: Annotated[
        FilePath | None,
        Field(description="Allowed signers of SSH of its files' changes. Default: any signer."),
    ] = None
    impersonate: Annotated[
        TenantUser | None,
        Field(description="Kubernetes: who creates its Jobs. Default: the daemon itself."),
    ] = None

    def tenant(self, *, root: str, guard_tasks: int, guard_gpus: int) -> Tenant:
        """Return the tenant; the numbers are those of the guard over all.

        ``root`` is the folder that the files with releases are in.
        """
        guard = self.guard
        return Tenant(
            name=self.name,
            paths=tuple(self.paths),
            namespaces=tuple(self.namespaces),
            uses=tuple(self.references.from_),
            used_by=tuple(self.references.to),
            secrets=tuple(self.secrets),
            service_accounts=tuple(self.service_accounts),
            queues=tuple(self.queues),
            priorities=tuple(self.priorities),
            profiles=tuple(self.profiles),
            images=tuple(self.images),
            buckets=tuple(self.buckets),
            sources=tuple(self.sources),
            gpus=tuple(self.gpus),
            limit_runs=self.limits.runs,
            limit_gpus=self.limits.gpus,
            guard_tasks=_or(guard.tasks, guard_tasks) if guard else None,
            guard_gpus=_or(guard.gpus, guard_gpus) if guard else None,
            guard_cost=(guard.cost or 0.0) if guard else 0.0,
            budget_month=self.budget.month,
            user=self.impersonate.user if self.impersonate else None,
            releases=tuple(f"{root}/{file}" if root else file for file in self.releases),
        )


def _or(value: int | None, default: int) -> int:
    return value if value is not None else default


def made_tenants(
    sections: Sequence[TenantSection], *, root: str, guard_tasks: int, guard_gpus: int
) -> Tenants:
    """Return the tenants of the configuration, in its order."""
    made = (s.tenant(root=root, guard_tasks=guard_tasks, guard_gpus=guard_gpus) for s in sections)
    return Tenants(tuple(made), root)


def tenant_faults(sections: Sequence[TenantSection], *, verified: bool) -> Iterator[str]:
    """Find tenants that would take each other's names, and unknown ones.

    ``verified``: commits are. Without that, signers of a tenant would mean nothing.
    """
    names = {section.name for section in sections}
    seen: list[TenantSection] = []
    for number, section in enumerate(sections):
        if any(section.name == other.name for other in seen):
            yield f"tenants[{number}].name: there are two tenants {section.name}"
        if section.signers is not None and not verified:
            yield f"tenants[{number}].signers: needs repository.verify"
        for key, others in (("from", section.references.from_), ("to", section.references.to)):
            for unknown in sorted({*others} - names):
                yield f"tenants[{number}].references.{key}: there is no tenant {unknown}"
        for glob in section.namespaces:
            owner = next((o for o in seen if admits_name(glob, o.namespaces)), None)
            if owner is not None:
                yield (
                    f"tenants[{number}].namespaces: {glob} is of tenant {owner.name}, which stands "
                    "before; a namespace has one tenant"
                )
        seen.append(section)
