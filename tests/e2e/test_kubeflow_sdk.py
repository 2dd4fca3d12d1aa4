"""Reports by the client of Kubeflow's own SDK, unmodified, on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.engine import read_curves
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.images import Image
from tests.e2e.node_site import NodeSite, daemon, hostpath, program, reports_server
from tests.e2e.packages import environment, mounted
from tests.e2e.site import Site

_REQUIREMENTS = "kubeflow==0.5.0\n"

#: The SDK sends one report in five seconds at most, and says whether it was taken.
_REPORT = """\
from kubeflow.trainer import update_trainjob_status
assert update_trainjob_status(40, 90, {"loss": 0.25, "epoch": 3, "stage": "warm"})
"""
_REPORTED = {"loss": [0.25], "epoch": [3]}

pytestmark = pytest.mark.timeout(900)


def test_the_sdk_of_kubeflow_reports_on_the_local_engine(site: Site) -> None:
    site.write("src/m/train.sh", f"#!/usr/bin/env python3\n{_REPORT}", executable=True)
    site.write("src/m/requirements.txt", _REQUIREMENTS)
    site.scratch("m")
    assert site.sync().returncode == 0
    assert _reported(site.artifact("m")) == _REPORTED


def test_the_sdk_of_kubeflow_reports_from_a_pod(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(_REQUIREMENTS)
    site = NodeSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))
    site.configure(
        kubernetes={"templates": {"train": mounted(environment("kubeflow", requirements))}},
        server=reports_server(tmp_path, node_cluster),
    )
    image = Image(command=("python3",)).busybox().python().pip()
    program(site, "m", _REPORT, image=image.push(node_cluster.registry, "python-wheels"))
    site.push()
    with daemon(site):
        status = site.ready("m")
    assert _reported(Path(status["artifact"]["url"].removeprefix("file://"))) == _REPORTED


def _reported(artifact: Path) -> dict[str, list[float]]:
    """The values of each metric that were kept beside an artifact."""
    with (artifact / "logs" / "progress-1.jsonl").open("rb") as lines:
        curves = read_curves(lines)
    assert curves is not None
    return {name: [p.value for p in points] for name, points in curves.metrics.items()}
