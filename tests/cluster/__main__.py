"""``python -m tests.cluster build`` makes the programs; ``up`` gives a developer the cluster."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from tests.cluster import lease, machine
from tests.cluster.build import programs, say
from tests.cluster.cluster import Cluster, NodeCluster
from tests.cluster.errors import ClusterFailed, ClusterUnavailable
from tests.cluster.recipes import Level
from tests.git.remotes import HttpRemote, make_bare


@click.group()
def main() -> None:
    """A Kubernetes from nothing, on this machine."""


@main.command()
@click.option("--helm", is_flag=True, help="Build Helm, and a control plane without a node.")
@click.option("--kueue", is_flag=True, help="Build Kueue and a stand-in for GPUs besides.")
@click.option("--gitea", is_flag=True, help="Build Gitea alone.")
@click.option("--gcsfuse", is_flag=True, help="Build gcsfuse and a server for it besides.")
@click.option("--mountpoint", is_flag=True, help="Build Mountpoint for S3 and its driver besides.")
@click.option("--policies", is_flag=True, help="Build what enforces NetworkPolicies besides.")
def build(
    helm: bool, kueue: bool, gitea: bool, gcsfuse: bool, mountpoint: bool, policies: bool
) -> None:
    """Build what the tests need and this machine can run; in CI, all of it."""
    try:
        if gitea:
            programs("gitea")
            return
        programs("control-plane")
        if helm:
            programs("helm")
            return
        if kueue:
            programs("queue")
        machine.check()
        asked: Mapping[Level, bool] = {
            "queue-node": kueue,
            "gcs-node": gcsfuse,
            "mountpoint-node": mountpoint,
            "policy-node": policies,
        }
        programs(next((level for level, wanted in asked.items() if wanted), "node"))
    except ClusterUnavailable as error:
        if os.environ.get("CI"):
            raise click.ClickException(str(error)) from error
        say(f"left out, and its tests skipped: {error}")
    except ClusterFailed as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--control-plane", "bare", is_flag=True, help="Without a node: no root needed.")
def up(bare: bool) -> None:
    """Run a cluster until Ctrl-C, and say how to use it."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        try:
            if bare:
                say("starting etcd and a control plane; some 4 s")
                with lease.control_plane(Path(folder)) as cluster:
                    _stay(cluster)
            else:
                machine.check()
                say("starting etcd, a control plane, a registry, an S3 server and a node; some 8 s")
                with lease.node(Path(folder)) as cluster, _remote(cluster) as url:
                    _stay(cluster, url)
        except (ClusterFailed, ClusterUnavailable) as error:
            raise click.ClickException(str(error)) from error


@contextmanager
def _remote(cluster: NodeCluster) -> Iterator[str]:
    """A Git remote for manifests, which may be pushed to, at an address that pods reach."""
    root = cluster.folder / "git"
    make_bare(root, "models.git")
    remote = HttpRemote(root, address=cluster.address)
    try:
        yield remote.url("models.git")
    finally:
        remote.close()


def _stay(cluster: Cluster, remote: str = "") -> None:
    write = sys.stdout.write
    write(f"export KUBECONFIG={cluster.kubeconfig}\n")
    write(f"alias kubectl={cluster.binaries['kubectl']}\n")
    if isinstance(cluster, NodeCluster):
        s3 = cluster.s3
        write(f"export AWS_ACCESS_KEY_ID={s3.access_key} AWS_SECRET_ACCESS_KEY={s3.secret_key}\n")
        write(f"export AWS_ENDPOINT_URL={s3.endpoint}\n")
        write(f"\nA Git remote that pods reach too: git push {remote} HEAD:main\n")
        write("\nA reconciler.yaml:\n")
        repository = {
            "repository": {"url": remote},
            "sources": {"allow": ["http://*", "https://*"]},
        }
        for key, value in (repository | cluster.configuration).items():
            write(f"  {key}: {json.dumps(value)}\n")
        write("\nImages to run:\n")
        for name, ref in cluster.images.items():
            write(f"  {name}: {ref}\n")
        write(f"\nPods reach this machine as {cluster.address}.\n")
    write(f"\nLogs: {cluster.folder / 'logs'}\nCtrl-C ends it.\n")
    sys.stdout.flush()
    ends = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)
    say("ending")


if __name__ == "__main__":
    main(prog_name="python -m tests.cluster")
