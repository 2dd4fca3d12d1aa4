"""The API server refuses a tenant's Job where the tenant's account has no right to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import IMAGE, ClusterSite, daemon
from tests.e2e.site import until

RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def foreign(namespace: Namespace) -> Iterator[Namespace]:
    """A second namespace, in which the tenant's account has no right."""
    kubectl = namespace.cluster.kubectl
    other = Namespace(namespace.cluster, f"{namespace.name}-2")
    kubectl("create", "namespace", other.name)
    yield other
    kubectl("delete", "namespace", other.name, "--wait=false")


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace, foreign: Namespace) -> ClusterSite:
    """A tenant with both namespaces and an account that may create Jobs in the first."""
    grant(namespace)
    made = ClusterSite(tmp_path, namespace)
    namespaces = [namespace.name, foreign.name]
    vision = {
        "name": "vision",
        "paths": ["vision/**"],
        "namespaces": namespaces,
        "images": ["registry.test/**"],
        "impersonate": {"namespace": namespace.name, "name": "jobs"},
    }
    made.configure(kubernetes={"namespaces": namespaces}, tenants=[vision])
    return made


def grant(namespace: Namespace) -> None:
    """Make the tenant's account, as docs/tenants.md has it."""
    items = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jobs"}},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "Role",
            "metadata": {"name": "jobs"},
            "rules": [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}],
        },
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "jobs"},
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "jobs"},
            "subjects": [{"kind": "ServiceAccount", "name": "jobs", "namespace": namespace.name}],
        },
    ]
    made = {"apiVersion": "v1", "kind": "List", "items": items}
    namespace.cluster.kubectl("apply", f"--namespace={namespace.name}", "-f", "-", given=made)


def write(site: ClusterSite, name: str, namespace: str) -> None:
    site.write(
        f"vision/{name}.yaml",
        f"kind: Model\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n"
        f"  source: {{image: {{ref: '{IMAGE}'}}}}\n  training: {{mode: Scratch}}\n",
    )


def test_a_job_beyond_the_rights_of_the_tenants_account_is_refused_and_says_so(
    site: ClusterSite, namespace: Namespace, foreign: Namespace
) -> None:
    write(site, "own", namespace.name)
    write(site, "beyond", foreign.name)
    site.push()
    user = f"system:serviceaccount:{namespace.name}:jobs"
    with daemon(site):
        site.job("own")
        until(
            lambda: site.statuses().get("beyond", {}).get("reason") == "ApiServerForbidden",
            what="the refusal to be told",
        )
        told = site.statuses()["beyond"]
        assert f'User "{user}" cannot create resource "jobs"' in told["message"]
        assert f'in the namespace "{foreign.name}"' in told["message"]
        assert site.namespace.cluster.api.items(foreign.jobs) == []
