"""A forge and a registry behind a private authority that ask for credentials, and a source by ssh.

Nothing on the node trusts that authority but what the configuration gives it to; every pull, push
and fetch is with a credential that its server asks for.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.api import eventually
from tests.cluster.build import programs
from tests.cluster.certificates import Authority
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e.node_site import NodeSite, daemon, hostpath, until
from tests.e2e.site import git
from tests.git.remotes import HttpRemote, SshRemote

USER, PASSWORD = "builder", "letmein"
#: As htpasswd -B writes it.
_HTPASSWD = f"{USER}:$2b$04$EKzBOWyGB4F.yxCk7QIHWuTi.bjaC4L.lgtCjvkVLfO4DPQkq8tKK\n"
_REGISTRY = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {storage}}}}}
auth: {{htpasswd: {{realm: private, path: {passwords}}}}}
http: {{addr: "{address}", tls: {{certificate: {certificate}, key: {key}}}}}
"""
_TRAIN = """\
#!/bin/sh
echo "$PARAM_TEXT" > "$MODEL_DIR/weights"
"""


@pytest.mark.timeout(900)
def test_forge_and_registry_are_private(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    address = node_cluster.address
    authority = Authority(tmp_path / "authority", "private")
    pair = authority.issue("servers", "servers", hosts=(address,))
    forge = HttpRemote(
        tmp_path,
        certificate=(pair.certificate, pair.key),
        password=("git", "token-of-the-forge"),
        address=address,
    )
    (tmp_path / "elsewhere").mkdir()
    shell = SshRemote(tmp_path / "elsewhere", address=address)
    try:
        with registry(tmp_path, node_cluster, authority) as host:
            node_cluster.trust(host, authority.ca.certificate)
            site = private_site(tmp_path, node_namespace, node_cluster, forge, shell, host)
            base = node_cluster.images["python"].partition("/")[2]
            dockerfile = f"FROM {host}/{base}\nWORKDIR /app\nCOPY train.sh .\n"
            for folder in (site.work / "src", tmp_path / "elsewhere" / "work"):
                folder.mkdir()
                (folder / "Dockerfile").write_text(dockerfile)
                # Builds of the same files are one build.
                (folder / "train.sh").write_text(f"{_TRAIN}# {folder}\n")
                (folder / "train.sh").chmod(0o755)
            source(tmp_path / "elsewhere")
            model(site, "web", "{url: ., path: src}")
            model(site, "shell", json.dumps({"url": shell.url("source.git"), "branch": "main"}))
            site.push()
            with daemon(site):
                until(lambda: ended(site), what="both to end")
        statuses = site.statuses()
        assert {n: s["phase"] for n, s in statuses.items()} == {"web": "Ready", "shell": "Ready"}
        for name, status in statuses.items():
            assert status["image"].startswith(f"{host}/models/")
            assert (site.artifact(name) / "weights").read_text() == f"{name}\n"
    finally:
        shell.close()


def private_site(
    root: Path,
    namespace: Namespace,
    cluster: NodeCluster,
    forge: HttpRemote,
    shell: SshRemote,
    registry: str,
) -> NodeSite:
    """A site with a credential for everything, in files and in Secrets."""
    assert forge.password is not None
    user, token = forge.password
    (root / "token").write_text(f"{token}\n")
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    auths = json.dumps({"auths": {registry: {"auth": login}}})
    keys = {
        "ssh-privatekey": (shell.keys / "client").read_text(),
        "known_hosts": (shell.keys / "known_hosts").read_text(),
    }
    for name, kind, data in (
        ("registry", "kubernetes.io/dockerconfigjson", {".dockerconfigjson": auths}),
        ("forge", "kubernetes.io/basic-auth", {"username": user, "password": token}),
        ("shell", "kubernetes.io/ssh-auth", keys),
    ):
        secret = {"metadata": {"name": name}, "type": kind, "stringData": data}
        cluster.api.create(f"/api/v1/namespaces/{namespace.name}/secrets", secret)
    site = NodeSite(root, namespace, cluster, hostpath(root), forge=forge)
    credentials = {"username": user, "passwordFile": str(root / "token")}
    site.configure(
        repository={"url": forge.url("manifests.git"), "credentials": credentials},
        sources={
            "allow": ["https://*", "ssh://*"],
            "credentials": [
                {"prefix": f"{forge.origin}/", **credentials, "buildSecret": "forge"},
                {
                    "prefix": f"ssh://root@{shell.address}:{shell.port}/",
                    "sshKeyFile": str(shell.keys / "client"),
                    "knownHostsFile": str(shell.keys / "known_hosts"),
                    "buildSecret": "shell",
                },
            ],
        },
        registry={"url": f"{registry}/models", "insecure": False, "secret": "registry"},
        tls={"caFile": str(root / "authority" / "ca.crt")},
    )
    return site


def model(site: NodeSite, name: str, source: str) -> None:
    site.write(
        f"{name}.yaml",
        f"kind: Model\nmetadata: {{name: {name}}}\nspec:\n  source: {{git: {source}}}\n"
        f"  training: {{mode: Scratch, command: [./train.sh], params: {{text: {name}}}}}\n",
    )


def source(root: Path) -> None:
    """A bare repository of what is in ``work``."""
    git(root / "work", "init", "--quiet", "--initial-branch=main")
    git(root / "work", "add", "--all")
    git(root / "work", "commit", "--quiet", "--message", "Source")
    git(root, "clone", "--quiet", "--bare", "work", "source.git", quiet=True)


@contextmanager
def registry(root: Path, cluster: NodeCluster, authority: Authority) -> Iterator[str]:
    """The cluster's registry once more: by TLS, and for those who know the password."""
    host = f"{cluster.address}:{free(1)[0]}"
    pair = authority.issue("registry", "registry", hosts=(cluster.address,))
    (root / "htpasswd").write_text(_HTPASSWD)
    config = root / "registry.yaml"
    config.write_text(
        _REGISTRY.format(
            storage=cluster.folder / "registry",
            passwords=root / "htpasswd",
            address=host,
            certificate=pair.certificate,
            key=pair.key,
        )
    )
    with (root / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [programs("node")["registry"], "serve", str(config)], stdout=log, stderr=log
        )
    try:
        context = ssl.create_default_context(cafile=str(authority.ca.certificate))
        eventually(lambda: _asks(host, context), "the registry")
        yield host
    finally:
        process.terminate()
        process.wait(10)


def _asks(host: str, context: ssl.SSLContext) -> bool:
    """Whether it is there, and asks who one is."""
    connection = http.client.HTTPSConnection(host, timeout=5, context=context)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.HTTPStatus.UNAUTHORIZED
    except OSError:
        return False
    finally:
        connection.close()


def ended(site: NodeSite) -> bool:
    phases = site.phases()
    assert "Failed" not in phases.values(), site.statuses()
    return len(phases) == 2 and set(phases.values()) == {"Ready"}
