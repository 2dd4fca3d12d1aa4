"""A daemon whose runs are containers: from manifests to artifacts, once and again."""

from __future__ import annotations

import pytest

from tests.container_daemons import BASE, ContainerDaemon
from tests.e2e.site import Site

pytestmark = pytest.mark.containers


def test_sources_and_named_images_become_artifacts_in_containers(
    site: Site, containers: ContainerDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in containers.environment.items():
        monkeypatch.setenv(name, value)
    site.configure(local={"runtime": containers.name}, allow={"images": ["127.0.0.1:*/team/*"]})
    site.write(
        "rows.yaml",
        "kind: Dataset\nmetadata: {name: rows}\nspec:\n"
        f"  source: {{image: {{ref: '{containers.registry.reference}'}}}}\n"
        "  load: {command: [sh, -c, 'echo 7 > $DATA_DIR/rows']}\n",
    )
    site.write("src/Dockerfile", f"FROM {BASE}\nARG WORD\nWORKDIR /app\nCOPY train.sh .\n")
    site.write(
        "src/train.sh", '#!/bin/sh\ncp "$DATA_DIR/rows" "$MODEL_DIR/weights"\n', executable=True
    )
    site.write(
        "a.yaml",
        "kind: Model\nmetadata: {name: a}\nspec:\n"
        "  source: {git: {url: ., path: src, buildArgs: {WORD: a b}}}\n"
        "  training: {mode: Scratch, dataset: {name: rows}, resources: {memory: 64Mi, cpu: 1}}\n",
    )
    done = site.sync()
    assert (done.returncode, site.phases()) == (0, {"a": "Ready", "rows": "Ready"}), done.stdout
    assert (site.artifact("a") / "weights").read_text() == "7\n"
    before = site.statuses()
    assert site.run_once().returncode == 0
    assert site.statuses() == before
    assert containers.containers() == []
