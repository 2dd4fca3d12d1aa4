"""An unused image goes from a cluster's registry, and is built again once it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.image_registry import ImageRegistry
from tests.cluster.cluster import NodeCluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import daemon
from tests.e2e.node_site import NodeSite, until
from tests.e2e.rclone_bucket import brisk_template, rclone_bucket

TRAIN = '#!/bin/sh\necho {text} "$PARAM_EPOCHS" > "$MODEL_DIR/weights"\n'
MODEL = (
    "kind: Model\nmetadata: {{name: m}}\nspec:\n  source: {{git: {{url: ., path: src}}}}\n"
    "  training: {{mode: Scratch, params: {{epochs: {epochs}}}, command: [./train.sh]}}\n"
)


class ImageSite(NodeSite):
    """A Model whose image has a text in it."""

    def ask_for(self, text: str, epochs: int) -> str:
        """Push a version, and wait until it is made; return its image."""
        self.dockerfile("src", "train.sh", TRAIN.format(text=text))
        self.write("m.yaml", MODEL.format(epochs=epochs))
        self.push()
        tip = self.tip()
        until(lambda: self.built(tip), what=f"the model of {text}")
        return str(self.statuses()["m"]["image"])

    def tip(self) -> str:
        return (self.remote / "refs/heads/main").read_text().strip()

    def built(self, tip: str) -> bool:
        status = self.statuses().get("m", {})
        assert status.get("phase") != "Failed", status
        made = status.get("manifest", {}).get("commit") == tip
        return bool(made and status["phase"] == "Ready")

    def is_there(self, image: str) -> bool:
        found = ImageRegistry(host=self.cluster.registry, insecure=True).sizes([image])[image]
        assert found is None or isinstance(found, int), found
        return found is not None

    def steps(self, name: str) -> int:
        """How many entries of builds say that a collection hid or took them."""
        history = self.statuses()["m"]["history"]
        return sum(name in entry for entry in history if entry["task"] == "build")


@pytest.mark.timeout(900)
def test_an_old_image_is_deleted_and_built_again_when_it_is_needed(
    tmp_path: Path,
    node_namespace: Namespace,
    node_cluster: NodeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3 = node_cluster.s3
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    site = ImageSite(
        tmp_path, node_namespace, node_cluster, rclone_bucket(node_cluster, node_namespace)
    )
    templates = {"templates": {"train": brisk_template()}}
    policy = {"keep": 0, "days": 0, "grace": "0.001s", "maxShare": 1.0}
    site.configure(kubernetes=templates)
    try:
        with daemon(site, "one"):
            old = site.ask_for("one", 1)
            new = site.ask_for("two", 2)
            assert old != new
        site.configure(kubernetes=templates, retention={"enabled": True, **policy})
        with daemon(site, "two"):
            until(lambda: site.steps("hidden"), what="the old image to be noted")
            assert site.is_there(old)
        with daemon(site, "three"):
            until(lambda: site.steps("collected"), what="the old image to be deleted")
            assert not site.is_there(old)
            assert site.is_there(new)
            again = site.ask_for("one", 3)
            assert site.is_there(again)
    finally:
        site.forge.close()
