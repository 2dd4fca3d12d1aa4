"""The examples on a cluster: the repository that the local engine runs, with its Dockerfiles.

What is changed in it is what a user behind mirrors changes: where images and packages come from.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.images import Image
from tests.e2e.node_site import NodeSite, daemon, hostpath
from tests.e2e.packages import package_index
from tests.e2e.site import until
from tests.examples.manifests import EXAMPLES, manifests

PATIENCE = 900.0


@pytest.mark.timeout(1200)
def test_the_examples_are_built_and_trained_on_a_cluster(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    image = Image(command=("python3",)).busybox().python().pip()
    base = image.push(node_cluster.registry, "python-pip")
    site = NodeSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))
    shutil.copytree(EXAMPLES, site.work, dirs_exist_ok=True)
    requirements = EXAMPLES / "sources" / "digits-mlp" / "requirements.txt"
    with package_index(node_cluster.address, requirements) as index:
        mirrors = {
            "BASE": base,
            "PIP_INDEX_URL": index,
            "PIP_TRUSTED_HOST": str(urlsplit(index).hostname),
        }
        for file in [*site.work.glob("models/*.yaml"), *site.work.glob("datasets/*.yaml")]:
            # In either of the two ways in which the examples write it.
            text = re.sub(
                r"( *)(path: sources/[a-z-]+)(.*)",
                lambda m: _with(m[1], m[2], m[3], f"buildArgs: {json.dumps(mirrors)}"),
                file.read_text(),
            )
            file.write_text(text)
        site.push()
        with daemon(site):
            until(lambda: _ended(site), what="every example to end", patience=PATIENCE)
    statuses = site.statuses()
    assert {name: status["phase"] for name, status in statuses.items()} == {
        name: "Suspended" if name == "from-image" else "Ready" for name in manifests()
    }
    accuracy = {
        name: status["artifact"]["metrics"]["accuracy"]
        for name, status in statuses.items()
        if "accuracy" in status.get("artifact", {}).get("metrics", {})
    }
    assert accuracy["digits-base"] > 0.9
    assert accuracy["tilted-full"] > 0.9
    variants = statuses["sweep-hidden"]["variants"]
    assert accuracy["sweep-hidden"] == max(v["metrics"]["accuracy"] for v in variants)
    by_units = {v["params"]["hidden"]: v["metrics"]["accuracy"] for v in variants}
    assert by_units[8] < by_units[64]
    images = {status["image"] for status in statuses.values() if "image" in status}
    assert len([ref for ref in images if ref.startswith(f"{node_cluster.registry}/models/")]) == 2


def _with(indent: str, path: str, rest: str, more: str) -> str:
    if rest.startswith("}"):
        return f"{indent}{path}, {more}{rest}"
    return f"{indent}{path}{rest}\n{indent}{more}"


def _ended(site: NodeSite) -> bool:
    phases = site.phases()
    assert "Failed" not in phases.values(), site.statuses()
    assert "Invalid" not in phases.values(), site.statuses()
    return phases.keys() == manifests().keys() and set(phases.values()) == {"Ready", "Suspended"}
