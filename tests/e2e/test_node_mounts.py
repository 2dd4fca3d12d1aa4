"""The object store and what mounts it fail in the worst moments of a training."""

from __future__ import annotations

import json
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, program, until
from tests.e2e.pod_watch import watched
from tests.e2e.rclone_bucket import brisk_template, folder_of, rclone_bucket
from tests.e2e.store_proxy import store_proxy
from tests.patience import PATIENCE

#: The first attempt of a name in the middle trains until its dataset says that it may end.
TRAINING = """\
import os, time
from pathlib import Path
model, data = Path(os.environ["MODEL_DIR"]), Path(os.environ["DATA_DIR"])
attempt, checkpoint = os.environ["ATTEMPT"], model / "checkpoint"
if attempt == "1":
    checkpoint.write_text("of attempt 1")
    while os.environ["PARAM_TRAINS"] == "long" and not (data / "end").exists():
        (data / "rows").read_text()
        time.sleep(0.1)
(model / "found").write_text(checkpoint.read_text() if checkpoint.exists() else "nothing")
(model / "weights").write_text(f"of attempt {attempt}")
"""
NAMES = ("kill-middle", "kill-end", "refuse-middle", "refuse-end")


class Troubles:
    """What becomes of the writes of each model, until its first attempt is over."""

    def __init__(self) -> None:
        self.over = {name: threading.Event() for name in NAMES}
        self.began = {name: threading.Event() for name in NAMES}

    def allowed(self, path: str) -> bool:
        parts = path.split("/")
        name = parts[parts.index("models") + 1] if "models" in parts else ""
        if name not in NAMES or self.over[name].is_set():
            return True
        if name == "refuse-middle" and parts[-1] == "checkpoint":
            self.began[name].set()
        if name.endswith("-end") and parts[-1] == "weights":
            self.began[name].set()
        if name == "kill-end" and self.began[name].is_set():
            self.over[name].wait(PATIENCE)  # in flight, for as long as anybody waits for it
            return True
        return name.startswith("kill-") or not self.began[name].is_set()


def refusal(path: str) -> int:
    """Busy in the middle of a training, and denied at its end."""
    return 503 if "/refuse-middle/" in path else 403


def kill_mounts(pod: Any) -> bool:
    """Kill every rclone of a pod; whether there was one."""
    killed = False
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if command[1:2] == ["mount"] and command[0].endswith("rclone"):
                cgroup = Path(f"/proc/{process.pid}/cgroup").read_text()
                if pod["metadata"]["uid"] in cgroup:
                    process.kill()
                    killed = True
        except (psutil.NoSuchProcess, psutil.ZombieProcess, FileNotFoundError, ProcessLookupError):
            continue
    return killed


class Scene:
    """Four trainings on a bucket whose store can be told to fail."""

    def __init__(self, root: Path, namespace: Namespace, cluster: NodeCluster, way: str) -> None:
        self._namespace, self._cluster = namespace, cluster
        bucket = rclone_bucket(cluster, namespace, endpoint=way, sync="8s")
        self._url = bucket["url"]
        self.site = NodeSite(root, namespace, cluster, bucket)
        template = brisk_template()
        env = template["spec"]["containers"][0]["env"]
        env.append({"name": "RECONCILER_BARRIER", "value": "15"})
        self.site.configure(kubernetes={"templates": {"train": template}})

    def push(self) -> None:
        self.data("rows")
        source = {"bucket": {"url": f"{self._url}/data", "revision": "1"}}
        dataset = {"kind": "Dataset", "metadata": {"name": "rows"}, "spec": {"source": source}}
        self.site.write("rows.yaml", json.dumps(dataset))
        for name in NAMES:
            trains = "long" if name.endswith("middle") else "short"
            dataset = {"name": "rows"}
            program(self.site, name, TRAINING, dataset=dataset, params={"trains": trains})
        self.site.push()

    def data(self, name: str) -> None:
        """Put a file into the dataset, through the store: it would not look for a new one."""
        s3 = self._cluster.s3
        store = (
            f":s3,provider=Other,endpoint='{s3.endpoint}',access_key_id={s3.access_key},"
            f"secret_access_key={s3.secret_key}:{self._url.removeprefix('s3://')}/data/{name}"
        )
        rclone = str(self._cluster.binaries["rclone"])
        subprocess.run([rclone, "--config=/dev/null", "rcat", store], input=b"1\n", check=True)

    def pod(self, name: str) -> Any:
        """The pod of a model that runs now, or None."""
        for pod in self._cluster.api.items(self._namespace.pods):
            running = pod["status"]["phase"] == "Running"
            if running and pod["metadata"]["labels"]["substratus.ai/name"] == name:
                return pod
        return None

    def files(self, name: str, pattern: str) -> list[Path]:
        """What the store has of a model's artifact."""
        return list(folder_of(self._cluster, self._url).rglob(f"models/{name}/*/{pattern}"))

    def failed(self, name: str) -> bool:
        """Whether the first attempt is over; nothing of it may ever look finished."""
        status = self.site.statuses().get(name, {"phase": "", "message": ""})
        assert status["phase"] not in ("Ready", "Failed"), status
        if "tried again at" not in status["message"]:
            return False
        assert status["tasks"][0]["failure"] == "Infrastructure", status
        assert not self.files(name, "completed.json")
        return True


def test_what_is_not_safe_in_the_store_is_not_called_finished(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    troubles = Troubles()
    s3, address = node_cluster.s3, node_cluster.address
    with store_proxy(s3, address, troubles.allowed, refusal) as proxy:
        scene = Scene(tmp_path, node_namespace, node_cluster, proxy.endpoint)
        site = scene.site
        scene.push()
        with watched(node_namespace, tmp_path / "pods.json") as pods, daemon(site):
            # In the middle: once a copy counts, everything that is mounted breaks at once.
            until(lambda: scene.files("kill-middle", ".reconciler-list-*"), what="a copy")
            assert kill_mounts(scene.pod("kill-middle"))
            # After the command's end: as often as it comes back.
            assert troubles.began["kill-end"].wait(PATIENCE)
            until(
                lambda: (pod := scene.pod("kill-end")) is None or (kill_mounts(pod) and False),
                what="the end of what has no mount",
            )
            assert troubles.began["refuse-middle"].wait(PATIENCE)
            scene.data("end")
            for name in ("kill-end", "kill-middle", "refuse-end", "refuse-middle"):
                until(partial(scene.failed, name), what=f"{name} to fail")
                troubles.over[name].set()
            until(lambda: set(site.phases().values()) == {"Ready"}, what="all ends")
            statuses = site.statuses()
    for name in NAMES:
        assert statuses[name]["tasks"][0]["attempts"] == 2, name
        (marker,) = scene.files(name, "completed.json")
        there = {f["path"]: f["size"] for f in json.loads(marker.read_text())["files"]}
        assert there.keys() == {"found", "weights", *marked(name)}
        assert all((marker.parent / path).stat().st_size == size for path, size in there.items())
        assert (marker.parent / "weights").read_text() == "of attempt 2"
    pods.never_two_of_a_key()


def marked(name: str) -> tuple[str, ...]:
    """What the second attempt found of the first one's: what had been copied when it failed."""
    return ("checkpoint",) if name == "kill-middle" else ()
