"""``python -m tests.cluster build`` makes the programs; ``up`` gives a developer the cluster."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import click

from tests.cluster import lease, machine
from tests.cluster.build import programs, say
from tests.cluster.cluster import Cluster, NodeCluster
from tests.cluster.errors import ClusterFailed, ClusterUnavailable


@click.group()
def main() -> None:
    """A Kubernetes from nothing, on this machine."""


@main.command()
def build() -> None:
    """Build what the tests need and this machine can run; in CI, all of it."""
    try:
        programs("control-plane")
        machine.check()
        programs("node")
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
                with lease.control_plane(Path(folder)) as cluster:
                    _stay(cluster)
            else:
                machine.check()
                with lease.node(Path(folder)) as cluster:
                    _stay(cluster)
        except (ClusterFailed, ClusterUnavailable) as error:
            raise click.ClickException(str(error)) from error


def _stay(cluster: Cluster) -> None:
    write = sys.stdout.write
    write(f"export KUBECONFIG={cluster.kubeconfig}\n")
    write(f"alias kubectl={cluster.binaries['kubectl']}\n")
    if isinstance(cluster, NodeCluster):
        s3 = cluster.s3
        write(f"export AWS_ACCESS_KEY_ID={s3.access_key} AWS_SECRET_ACCESS_KEY={s3.secret_key}\n")
        write(f"export AWS_ENDPOINT_URL={s3.endpoint}\n")
        write("\nA reconciler.yaml, but for the repository:\n")
        for key, value in cluster.configuration.items():
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


if __name__ == "__main__":
    main(prog_name="python -m tests.cluster")
