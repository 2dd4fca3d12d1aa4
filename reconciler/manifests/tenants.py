"""Tenants: sets of paths, and what their manifests may use.

A path has the first tenant whose ``paths`` match it, and a namespace the first whose
``namespaces`` match it. So an object's tenant follows from its namespace alone, whatever state its
manifest is in, and a manifest is valid only where its path has the same tenant as its namespace.
Without tenants there is no border but that of namespaces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from reconciler.urls import admits_name, admits_path

#: The name of GPUs without a type in a tenant's ``gpus``.
ANY_GPU = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant of the configuration.

    All of ``paths`` to ``gpus`` but ``uses`` and ``used_by`` are globs; an empty tuple admits
    nothing. ``uses`` are the tenants whose objects may be referred to, ``used_by`` those that may
    refer to this one's; empty: each that names it in ``uses``. A limit of 0 is none. Without
    ``guard_tasks`` and ``guard_gpus`` it has no guard of its own, nor with a ``guard_cost`` or
    ``budget_month`` of 0. ``releases`` are the files with
    release lines for its holds alone. ``user`` is the one as whom its Jobs are created, None: the
    daemon itself.
    """

    name: str
    paths: tuple[str, ...]
    namespaces: tuple[str, ...]
    uses: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    priorities: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    limit_runs: int = 0
    limit_gpus: int = 0
    guard_tasks: int | None = None
    guard_gpus: int | None = None
    guard_cost: float = 0.0
    budget_month: float = 0.0
    releases: tuple[str, ...] = ()
    user: str | None = None

    def may_use(self, other: Tenant) -> bool:
        """Return whether this tenant's objects may refer to another's."""
        if self.name == other.name:
            return True
        return other.name in self.uses and (not other.used_by or self.name in other.used_by)


#: Tenants are found once for each name.
_Found: TypeAlias = "dict[str, Tenant | None]"
#: Names that are remembered; manifests bring ever new ones.
MOST_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Tenants:
    """The tenants in their order; false if there are none.

    ``root`` is ``repository.path``, the folder of the manifests: a path outside of it has none.
    """

    members: tuple[Tenant, ...] = ()
    root: str = ""
    _by_path: _Found = field(default_factory=dict, init=False, repr=False, compare=False)
    _by_namespace: _Found = field(default_factory=dict, init=False, repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.members)

    def of_path(self, path: str) -> Tenant | None:
        """Return the tenant of a path in the repository."""
        prefix = f"{self.root}/" if self.root else ""
        if not path.startswith(prefix):
            return None
        inside = path[len(prefix) :]
        return self._find(self._by_path, path, lambda each: admits_path(inside, each.paths))

    def of_namespace(self, namespace: str) -> Tenant | None:
        """Return the tenant of a namespace, and of each object there."""
        return self._find(
            self._by_namespace, namespace, lambda each: admits_name(namespace, each.namespaces)
        )

    def name_of(self, namespace: str) -> str | None:
        """Return the name of a namespace's tenant, if it has one."""
        tenant = self.of_namespace(namespace)
        return tenant.name if tenant is not None else None

    def _find(self, known: _Found, name: str, matches: Callable[[Tenant], bool]) -> Tenant | None:
        if name not in known:
            if len(known) >= MOST_REMEMBERED:
                known.clear()
            known[name] = next(filter(matches, self.members), None)
        return known[name]
