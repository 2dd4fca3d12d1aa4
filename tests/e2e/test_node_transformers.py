"""The example of Hugging Face on a cluster: the Trainer, unmodified, in a pod that is killed.

Its packages are in an environment of this machine, which pods mount: in an image they would be
6 GB, which the registry, the node and the build would each keep. ``make test-transformers`` alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil
import pytest

from reconciler.engine import Curves, read_curves
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.images import Image
from tests.e2e.node_site import NodeSite, daemon, hostpath, reports_server, until
from tests.e2e.packages import environment, mounted

EXAMPLE = Path(__file__).resolve().parents[2] / "examples-hugging-face"
_REQUIREMENTS = EXAMPLE / "sources" / "tiny-gpt" / "requirements.txt"
PATIENCE = 1500.0

pytestmark = [
    pytest.mark.transformers,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        "RECONCILER_TEST_TRANSFORMERS" not in os.environ, reason="run by make test-transformers"
    ),
]


def test_a_trainer_of_transformers_goes_on_from_its_checkpoint_in_another_pod(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    packages = environment("transformers", _REQUIREMENTS)
    base = Image(command=("python3",)).busybox().python().pip()
    bucket = hostpath(tmp_path)
    site = NodeSite(tmp_path, node_namespace, node_cluster, bucket)
    template = mounted(packages)
    site.configure(
        kubernetes={"templates": {"load": template, "train": template}},
        server=reports_server(tmp_path, node_cluster),
    )
    shutil.copytree(EXAMPLE, site.work, dirs_exist_ok=True)
    (site.work / "reconciler.yaml").unlink()
    image = base.push(node_cluster.registry, "python-wheels")
    site.write("sources/tiny-gpt/Dockerfile", f"FROM {image}\nWORKDIR /app\nCOPY . .\n")
    manifest = site.work / "models" / "tiny-gpt.yaml"
    # The node may have no more cores than it asks for, and be used by other tests.
    manifest.write_text(manifest.read_text().replace("{cpu: 2, ", "{cpu: 1, "))
    token = {"metadata": {"name": "hugging-face"}, "stringData": {"token": "hf_token"}}
    node_cluster.api.create(f"/api/v1/namespaces/{node_namespace.name}/secrets", token)
    site.push()
    with daemon(site):
        until(lambda: _checkpoints(tmp_path), what="a checkpoint", patience=PATIENCE)
        assert _kill_training(node_cluster, node_namespace)
        until(lambda: site.phases() == {"tiny-gpt": "Ready"}, what="its end", patience=PATIENCE)
    status = site.statuses()["tiny-gpt"]
    assert status["artifact"]["metrics"]["eval_loss"] < 3
    printed = [log.read_text() for log in tmp_path.glob("bucket/**/logs/attempt-1.log")]
    assert any("HF_TOKEN is set" in text for text in printed)
    artifact = Path(status["artifact"]["url"].removeprefix("file://"))
    log = (artifact / "logs" / "attempt-2.log").read_text()
    assert "attempt 2 goes on from checkpoint-" in log
    assert (artifact / "model.safetensors").exists()
    for attempt in (1, 2):
        assert "loss" in _curves(artifact / "logs" / f"progress-{attempt}.jsonl").metrics


def _checkpoints(root: Path) -> list[Path]:
    """The whole ones that the training has left."""
    return list(root.glob("bucket/**/checkpoints/checkpoint-*/trainer_state.json"))


def _curves(file: Path) -> Curves:
    with file.open("rb") as lines:
        return read_curves(lines) or Curves()


def _kill_training(cluster: NodeCluster, namespace: Namespace) -> bool:
    """Kill the command of the namespace's pod; whether there was one."""
    pods = {str(pod["metadata"]["uid"]) for pod in cluster.api.items(namespace.pods)}
    killed = False
    for process in psutil.process_iter(["cmdline"]):
        if "train.py" in (process.info["cmdline"] or []):
            cgroup = Path(f"/proc/{process.pid}/cgroup").read_text()
            if any(pod in cgroup for pod in pods):
                process.kill()
                killed = True
    return killed
