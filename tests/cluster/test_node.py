"""Pods really run on the node of the tests: images, buckets, names, limits, builds, lost nodes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import eventually
from tests.cluster.certificates import Authority
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free

#: The first command in a bucket's sidecar is what mounts it; its probe is when the others start.
_MOUNT = 'mkdir -p /s3/b && exec rclone mount "$0" /s3/b --allow-other --vfs-cache-mode writes'
_MOUNTED = "grep -q ' /s3/b ' /proc/mounts"

_BUILD = """\
set -eu
mkdir ~/context ~/state ~/run
printf 'FROM %s\\nRUN id -u > /by\\nCMD ["cat", "/by"]\\n' "$BASE" > ~/context/Dockerfile
cat > ~/buildkitd.toml <<T
root = "$HOME/state"
[grpc]
  address = ["unix://$HOME/state/socket"]
[worker.oci]
  snapshotter = "native"
  networkMode = "host"
  noProcessSandbox = true
[worker.containerd]
  enabled = false
[registry."$REGISTRY"]
  http = true
T
rootlesskit --net=host --state-dir=$HOME/kit --copy-up=/etc --copy-up=/run \\
  buildkitd --config ~/buildkitd.toml &
ask="buildctl --addr unix://$HOME/state/socket"
until $ask debug workers; do sleep 0.1; done
$ask build --frontend dockerfile.v0 --local context=$HOME/context \\
  --local dockerfile=$HOME/context --metadata-file ~/made \\
  --output "type=image,name=$REPOSITORY:1,push=true,registry.insecure=true"
sed -n 's/.*"containerimage.digest": "\\(.*\\)".*/\\1/p' ~/made > /dev/termination-log
"""


def job(container: dict[str, Any], retries: int = 0, **pod: Any) -> dict[str, Any]:
    """A Job ``work`` of this container, which is told its node."""
    node = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    container = {"name": "c", **container, "env": [node, *container.get("env", ())]}
    pod = {"restartPolicy": "Never", "containers": [container], **pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "work"},
        "spec": {"backoffLimit": retries, "template": {"spec": pod}},
    }


def work(namespace: Namespace, container: dict[str, Any], **pod: Any) -> None:
    """Create the Job ``work`` of this container."""
    namespace.cluster.api.create(namespace.jobs, job(container, **pod))


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def ended(namespace: Namespace) -> str:
    """The condition in which the Job ended."""

    def look() -> str | None:
        status = namespace.cluster.api.get(f"{namespace.jobs}/work")["status"]
        held = {c["type"] for c in status.get("conditions", ()) if c["status"] == "True"}
        return next(iter(held & {"Complete", "Failed"}), None)

    return eventually(look, "the Job ends")


def terminated(namespace: Namespace) -> Any:
    pod = namespace.cluster.api.items(namespace.pods)[0]
    return pod["status"]["containerStatuses"][0]["state"]["terminated"]


@pytest.fixture
def images(node_cluster: NodeCluster) -> dict[str, str]:
    return dict(node_cluster.images)


def test_a_job_runs_to_its_end(node_namespace: Namespace, images: dict[str, str]) -> None:
    command = shell("echo hello from $(hostname)")
    work(node_namespace, {"image": images["busybox"], "command": command})
    assert ended(node_namespace) == "Complete"
    assert "hello from work-" in node_namespace.kubectl("logs", "job/work")


def test_a_failed_command_is_known_by_its_exit_code_and_message(
    node_namespace: Namespace, images: dict[str, str]
) -> None:
    script = "echo no data > /dev/termination-log; exit 7"
    work(node_namespace, {"image": images["busybox"], "command": shell(script)})
    assert ended(node_namespace) == "Failed"
    last = terminated(node_namespace)
    assert (last["exitCode"], last["message"]) == (7, "no data\n")


def test_memory_is_limited(node_namespace: Namespace, images: dict[str, str]) -> None:
    container = {
        "image": images["python"],
        "command": ["python3", "-c", "bytearray(10**9)"],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    work(node_namespace, container)
    assert ended(node_namespace) == "Failed"
    assert terminated(node_namespace)["reason"] == "OOMKilled"


def test_pods_of_a_headless_service_find_each_other(
    node_namespace: Namespace, images: dict[str, str]
) -> None:
    api = node_namespace.cluster.api
    service = {
        "metadata": {"name": "ring"},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"job-name": "work"},
        },
    }
    api.create(f"/api/v1/namespaces/{node_namespace.name}/services", service)
    script = """
import os, socket, time
if os.environ["JOB_COMPLETION_INDEX"] == "0":
    print(socket.create_server(("", 29500)).accept()[0].recv(9))
else:
    while True:
        try:
            socket.create_connection(("work-0.ring", 29500)).sendall(b"hello")
            break
        except OSError:
            time.sleep(0.1)
"""
    body = job({"image": images["python"], "command": ["python3", "-c", script]}, subdomain="ring")
    body["spec"] |= {"completions": 2, "parallelism": 2, "completionMode": "Indexed"}
    api.create(node_namespace.jobs, body)
    assert ended(node_namespace) == "Complete"


def test_a_pod_reaches_the_api_server_as_its_service_account(
    node_namespace: Namespace, images: dict[str, str]
) -> None:
    script = """
import os, ssl, urllib.error, urllib.request
there = "/var/run/secrets/kubernetes.io/serviceaccount/"
url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}/api/v1/namespaces"
token = {"Authorization": "Bearer " + open(there + "token").read()}
trust = ssl.create_default_context(cafile=there + "ca.crt")
try:
    urllib.request.urlopen(urllib.request.Request(url, headers=token), context=trust)
except urllib.error.HTTPError as error:
    print(error.read().decode())
"""
    work(node_namespace, {"image": images["python"], "command": ["python3", "-c", script]})
    assert ended(node_namespace) == "Complete"
    answer = json.loads(node_namespace.kubectl("logs", "job/work"))
    assert answer["code"] == 403
    assert f'"system:serviceaccount:{node_namespace.name}:default" cannot list' in answer["message"]


def test_a_bucket_is_a_folder_in_a_pod(
    node_cluster: NodeCluster, node_namespace: Namespace, images: dict[str, str]
) -> None:
    s3 = node_cluster.s3
    remote = (
        f":s3,provider=Rclone,endpoint='{s3.endpoint}',access_key_id={s3.access_key},"
        f"secret_access_key={s3.secret_key},force_path_style=true:{s3.bucket}/{node_namespace.name}"
    )
    volume = {"name": "v", "mountPath": "/s3"}
    sidecar = {
        "name": "mount",
        "image": images["rclone"],
        "restartPolicy": "Always",
        "securityContext": {"privileged": True},
        "env": [{"name": "RCLONE_CONFIG", "value": "/dev/null"}],
        "command": [*shell(_MOUNT), remote],
        "startupProbe": {"exec": {"command": shell(_MOUNTED)}, "periodSeconds": 1},
        "volumeMounts": [{**volume, "mountPropagation": "Bidirectional"}],
    }
    container = {
        "image": images["busybox"],
        # An upload follows the close, and what is not uploaded when rclone ends is lost.
        "command": shell("echo written > /s3/b/out.txt; sleep 600"),
        "volumeMounts": [{**volume, "mountPropagation": "HostToContainer"}],
    }
    volumes = [{"name": "v", "emptyDir": {}}]
    work(node_namespace, container, initContainers=[sidecar], volumes=volumes)
    made = s3.folder / s3.bucket / node_namespace.name / "out.txt"
    eventually(lambda: made.exists() and made.read_text() == "written\n", "it is uploaded")


def test_an_image_is_built_without_privilege_pushed_and_run_by_its_digest(
    node_cluster: NodeCluster, node_namespace: Namespace, images: dict[str, str]
) -> None:
    repository = f"{node_cluster.registry}/{node_namespace.name}"
    environment = {
        "BASE": images["busybox"],
        "REGISTRY": node_cluster.registry,
        "REPOSITORY": repository,
        "HOME": "/home/user",
        "XDG_RUNTIME_DIR": "/home/user/run",
    }
    container = {
        "image": images["buildkit"],
        "command": shell(_BUILD),
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "securityContext": {
            "runAsUser": 1000,
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
        },
        "volumeMounts": [{"name": "home", "mountPath": "/home/user"}],
    }
    home = {"name": "home", "emptyDir": {}}
    security = {"fsGroup": 1000}
    api = node_namespace.cluster.api
    work(node_namespace, container, volumes=[home], securityContext=security)
    assert ended(node_namespace) == "Complete"
    digest = terminated(node_namespace)["message"].strip()
    api.delete(f"{node_namespace.jobs}/work", propagation="Foreground")
    eventually(lambda: api.find(f"{node_namespace.jobs}/work") is None, "the build's Job is gone")
    work(node_namespace, {"image": f"{repository}@{digest}"})
    assert ended(node_namespace) == "Complete"
    assert node_namespace.kubectl("logs", "job/work") == "0\n"


def test_an_image_comes_from_a_registry_behind_a_private_authority(
    node_cluster: NodeCluster, node_namespace: Namespace, tmp_path: Path
) -> None:
    pair = Authority(tmp_path).issue("registry", "registry", hosts=(node_cluster.address,))
    private = f"{node_cluster.address}:{free(1)[0]}"
    config = {
        "version": 0.1,
        # It serves what the other registry has.
        "storage": {"filesystem": {"rootdirectory": str(node_cluster.folder / "registry")}},
        "http": {
            "addr": private,
            "tls": {"certificate": str(pair.certificate), "key": str(pair.key)},
        },
    }
    (tmp_path / "registry.json").write_text(json.dumps(config))
    command = [str(node_cluster.binaries["registry"]), "serve", str(tmp_path / "registry.json")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as registry:
        try:
            node_cluster.trust(private, tmp_path / "ca.crt")
            image = f"{private}/{node_cluster.images['busybox'].partition('/')[2]}"
            always = {"imagePullPolicy": "Always", "command": shell("true")}
            work(node_namespace, {"image": image, **always})
            assert ended(node_namespace) == "Complete"
        finally:
            registry.kill()
