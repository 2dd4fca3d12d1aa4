"""A cluster that the user has already, in place of the shared control plane.

It is asked for by ``TEST_KUBECONFIG`` and not taken from ``KUBECONFIG``, which in many a shell is
that of production: the tests make namespaces and Jobs there. Tests that stop programs, or need a
node's registry and buckets, keep to clusters of their own.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.api import Api
from tests.cluster.certificates import Pair
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.processes import run


def kubeconfig() -> Path | None:
    """The user's, where the tests are to use it."""
    path = os.environ.get("TEST_KUBECONFIG")
    return Path(path).absolute() if path else None


def cluster(kubeconfig: Path, folder: Path, kubectl: Path | None = None) -> Cluster:
    """The cluster of the file's current context; ``folder`` is for its certificates.

    Raises `ClusterUnavailable` where there is no kubectl, or a user is known by neither
    certificate nor token.
    """
    kubectl = kubectl or _kubectl()
    view = ("config", "view", "--raw", "--minify", "--flatten", "--output=json")
    viewed = run([kubectl, "--kubeconfig", kubeconfig, *view])
    if viewed.returncode != 0:
        raise ClusterUnavailable(f"TEST_KUBECONFIG {kubeconfig}: {viewed.stderr.strip()}")
    config = json.loads(viewed.stdout)
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    folder.mkdir(parents=True, exist_ok=True)
    ca = _file(folder / "ca.crt", server, "certificate-authority-data")
    pair = Pair(folder / "user.crt", folder / "user.key")
    if "client-certificate-data" in user:
        _file(pair.certificate, user, "client-certificate-data")
        _file(pair.key, user, "client-key-data")
        api = Api(server["server"], str(ca), pair)
    elif "token" in user:
        api = Api(server["server"], str(ca), token=user["token"])
    else:
        raise ClusterUnavailable(f"the user of {kubeconfig} has neither certificate nor token")
    return Cluster(
        folder=folder,
        kubeconfig=kubeconfig,
        server=server["server"],
        ca=ca,
        api=api,
        binaries={"kubectl": kubectl},
        ask=_not_ours,
    )


def _kubectl() -> Path:
    found = shutil.which("kubectl")
    if found is None:
        raise ClusterUnavailable("TEST_KUBECONFIG needs kubectl on PATH")
    return Path(found)


def _file(path: Path, section: Mapping[str, Any], key: str) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(section.get(key, "")))
    return path


def _not_ours(**order: str) -> Mapping[str, Any]:
    raise ClusterFailed(f"{order}: this cluster is the user's; take own_control_plane")
