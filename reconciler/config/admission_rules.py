"""The rules of a configuration for what manifests may name."""

from __future__ import annotations

from reconciler.config.setup import Setup
from reconciler.manifests import Admission, Tenancy


def admission(setup: Setup) -> Admission:
    """Return the rules; without a tenancy's ``located``, for paths in the repository."""
    config = setup.config
    cluster, named = config.kubernetes, config.buckets.named
    served = (*cluster.namespaces, cluster.namespace) if cluster.namespaces else ()
    own = setup.pod_namespace
    return Admission(
        cluster=config.cluster,
        namespaces=served if config.engine == "kubernetes" else None,
        own_namespace=own if own != cluster.namespace else None,
        artifacts=tuple(dict.fromkeys(setup.buckets.values())),
        buckets=tuple({*setup.buckets.values(), *(bucket.url for bucket in named.values())}),
        tenancy=Tenancy(tenants=setup.tenants, repository_url=setup.repository_url),
    )
