"""A build whose last line alone has changed, beside the first, on a node with real containers.

The Dockerfile has a layer of random bytes, which neither compresses nor is known to the registry,
and copies a script last: with ``COPY`` as most are written, or with ``COPY --link``. Each round
begins with another layer. What counts is the time from the build's Job to its completion.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.job_watch import await_job, uids
from tests.cluster import lease
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.node_site import NodeSite, daemon, hostpath, until

ROUNDS = 5
#: MiB of the layer.
LAYER = 256
KINDS = {"copy": "COPY", "link": "COPY --link"}
DOCKERFILE = """\
FROM {base}
WORKDIR /app
RUN echo {layer} && dd if=/dev/urandom of=/layer bs=1M count={size}
{copy} train.sh .
"""
TRAIN = '#!/bin/sh\necho {text} > "$MODEL_DIR/weights"\n'
MODEL = (
    "kind: Model\nmetadata: {name: m}\nspec:\n  source: {git: {url: ., path: src}}\n"
    "  training: {mode: Scratch, command: [./train.sh]}\n"
)


def measure(
    size: int = LAYER, rounds: int = ROUNDS, kinds: Sequence[str] = tuple(KINDS)
) -> Iterator[Figure]:
    """Yield a figure for each way to copy."""
    with tempfile.TemporaryDirectory() as name, lease.node(Path(name, "c")) as cluster:
        found = {kind: _measure(Path(name), cluster, kind, size, rounds) for kind in kinds}
    for kind, pairs in found.items():
        yield Figure(
            name=f"build.{kind}",
            title=f"second build, last line changed, {KINDS[kind]}",
            baseline=f"the first, a layer of {size} MiB",
            unit="s",
            rounds=pairs,
            aim=0.1,
        )


def _measure(
    folder: Path, cluster: NodeCluster, kind: str, size: int, rounds: int
) -> list[tuple[float, float]]:
    root = folder / kind
    root.mkdir()
    folder.chmod(0o755)
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": kind}})
    site = NodeSite(root, Namespace(cluster, kind), cluster, hostpath(root))
    site.write("m.yaml", MODEL)
    site.push()
    pairs = []
    with daemon(site):
        for layer in range(rounds):
            text = DOCKERFILE.format(
                base=cluster.images["python"], layer=layer, size=size, copy=KINDS[kind]
            )
            first = _built(site, text, f"{layer} first")
            pairs.append((_built(site, text, f"{layer} second"), first))
    return pairs


def _built(site: NodeSite, dockerfile: str, text: str) -> float:
    """Push a Dockerfile and a script, and wait for the model; return the build's seconds."""
    site.write("src/Dockerfile", dockerfile)
    site.write("src/train.sh", TRAIN.format(text=text), executable=True)
    path = f"{site.namespace.jobs}?labelSelector=substratus.ai/task=build"
    known, before = uids(site.cluster, path), site.statuses().get("m", {}).get("image")
    site.push(text)
    came, complete = await_job(site.cluster, path, known)

    def trained() -> bool:
        status = site.statuses().get("m", {})
        return status.get("phase") == "Ready" and status.get("image") != before

    until(trained, what=f"the model of {text}")
    return complete - came
