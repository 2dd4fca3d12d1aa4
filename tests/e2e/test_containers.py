"""A daemon whose runs are containers: from manifests to artifacts, once and again."""

from __future__ import annotations

import signal

import pytest

from tests.container_daemons import BASE, ContainerDaemon
from tests.e2e.site import Site, stop, until

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


def test_a_container_goes_on_while_its_daemon_is_killed(
    site: Site, containers: ContainerDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in containers.environment.items():
        monkeypatch.setenv(name, value)
    site.configure(local={"runtime": containers.name}, allow={"images": ["127.0.0.1:*/team/*"]})

    def model(name: str, script: str) -> None:
        site.write(
            f"{name}.yaml",
            f"kind: Model\nmetadata: {{name: {name}}}\nspec:\n"
            f"  source: {{image: {{ref: '{containers.registry.reference}'}}}}\n"
            f"  training: {{mode: Scratch, retries: 1, command: [sh, -c, '{script}']}}\n",
        )

    def said() -> dict[str, str]:
        """What each attempt of the first has printed, in the order of its lines."""
        logs = site.root.rglob("models/a/*/logs/attempt-*.log")
        return {file.name: file.read_text() for file in logs}

    model("a", "echo on $ATTEMPT; until test -e $MODEL_DIR/gate; do sleep 0.1; done; echo off")
    site.push()
    with site.running() as daemon:
        until(lambda: said() == {"attempt-1.log": "on 1\n"}, what="its start")
        [container] = containers.containers()
        assert stop(daemon, signal.SIGKILL) == -signal.SIGKILL
    assert containers.containers() == [container]
    model("b", "true")
    site.push()
    with site.running():
        until(lambda: site.phases().get("b") == "Ready", what="the work of another daemon")
        assert site.phases()["a"] == "Training"
        assert containers.containers() == [container]
        [log] = site.root.rglob("models/a/*/logs/attempt-1.log")
        (log.parent.parent / "gate").touch()
        until(lambda: site.phases()["a"] == "Ready", what="its end")
    assert said() == {"attempt-1.log": "on 1\noff\n"}
    [entry] = site.statuses()["a"]["history"]
    assert (entry["phase"], site.statuses()["a"]["tasks"][-1]["attempts"]) == ("Succeeded", 1)
    assert containers.containers() == []
