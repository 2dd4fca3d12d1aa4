"""A build whose last line has changed takes the layers below it from the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import daemon
from tests.e2e.node_site import NodeSite, hostpath, until

#: A stage and a line that come out differently each time that they are run.
DOCKERFILE = """\
FROM {base} AS tools
RUN cat /proc/sys/kernel/random/uuid > /stage
FROM {base}
WORKDIR /app
RUN cat /proc/sys/kernel/random/uuid > /line
COPY --from=tools /stage /stage
COPY train.sh .
"""
TRAIN = '#!/bin/sh\ncat /stage /line > "$MODEL_DIR/weights"\n# {text}\n'
MODEL = (
    "kind: Model\nmetadata: {name: m}\nspec:\n  source: {git: {url: ., path: src}}\n"
    "  training: {mode: Scratch, command: [./train.sh]}\n"
)


class BuildSite(NodeSite):
    """A Model whose artifact has what the lines of its Dockerfile made."""

    def made(self, text: str) -> tuple[str, ...]:
        """Push a script, and wait until it is built and run; return what the lines made."""
        self.write("src/Dockerfile", DOCKERFILE.format(base=self.cluster.images["python"]))
        self.write("src/train.sh", TRAIN.format(text=text), executable=True)
        self.write("m.yaml", MODEL)
        before = self.statuses().get("m", {}).get("image")
        self.push(text)
        until(lambda: self._ready(before), what=f"the model of {text}")
        artifact = Path(self.statuses()["m"]["artifact"]["url"].removeprefix("file://"))
        stage, line = (artifact / "weights").read_text().split()
        return stage, line

    def _ready(self, before: str | None) -> bool:
        """Return whether a model of another image than the one before is ready."""
        status: dict[str, Any] = self.statuses().get("m", {})
        assert status.get("phase") != "Failed", status
        return bool(status.get("phase") == "Ready" and status.get("image") != before)


@pytest.mark.timeout(900)
def test_a_changed_last_line_runs_no_line_above_it_again(
    tmp_path: Path, node_namespace: Namespace, node_cluster: NodeCluster
) -> None:
    site = BuildSite(tmp_path, node_namespace, node_cluster, hostpath(tmp_path))
    try:
        with daemon(site, "one"):
            first = site.made("first")
            assert site.made("second") == first
        site.configure(registry={"cache": False})
        with daemon(site, "two"):
            stage, line = site.made("third")
            assert stage != first[0]
            assert line != first[1]
    finally:
        site.forge.close()
