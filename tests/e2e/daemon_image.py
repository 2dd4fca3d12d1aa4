"""The project's Dockerfile, built on a node as the image of a Model.

Its base is named as a user names a mirror's, by the build argument BASE (``debian.py``). The
Model's training says what has to hold in the image.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.debian import Debian
from tests.e2e.node_site import NodeSite, daemon, hostpath

ROOT = Path(__file__).parents[2]
_DOCKERFILE = ROOT / "Dockerfile"
_LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-build.lock")
#: Fails in an image with another user, with pip or a compiler, or without a program.
_HOLDS = """\
set -eux
test "$(id -u):$(id -g)" = 65532:65532
for program in git gpg ssh; do command -v "$program"; done
for program in cc gcc pip; do if command -v "$program"; then exit 1; fi; done
if python -m pip --version; then exit 1; fi
python -c 'import sys; assert sys.prefix == "/opt/reconciler", sys.prefix'
cd /tmp && reconciler init manifests && cd manifests && reconciler validate
reconciler --version > "$MODEL_DIR/version"
"""


def daemon_image(root: Path, namespace: Namespace, cluster: NodeCluster) -> str:
    """Build it, and run that; its reference by digest comes back."""
    root.mkdir()
    site = NodeSite(root, namespace, cluster, hostpath(root))
    # What the image brings has manifests of its own.
    site.configure(repository={"path": "manifests"})
    debian = Debian.of(_DOCKERFILE)
    with debian.base(cluster.address, cluster.registry, _LOCKS) as base, daemon(site):
        for name in _context():
            source, copy = ROOT / name, site.work / "project" / name
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                copy.parent.mkdir(exist_ok=True)
                shutil.copy(source, copy)
        git = {"url": ".", "path": "project", "buildArgs": {"BASE": base}}
        training = {"mode": "Scratch", "command": ["sh", "-c", _HOLDS]}
        spec = {"source": {"git": git}, "training": training}
        manifest = {"kind": "Model", "metadata": {"name": "daemon"}, "spec": spec}
        site.write("manifests/daemon.yaml", json.dumps(manifest))
        site.push()
        return str(site.ready("daemon")["image"])


def _context() -> list[str]:
    """The Dockerfile, and what it copies from its context."""
    copied = [
        name
        for line in _DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    return [_DOCKERFILE.name, *copied]
