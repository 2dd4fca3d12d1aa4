"""A dataset, a model that is trained on it, and one that is trained off that: built, and run."""

from __future__ import annotations

from typing import Any

from tests.e2e.node_site import NodeSite

DATA = """\
#!/bin/sh
set -eu
seq 1 "$PARAM_ROWS" > "$DATA_DIR/rows"
"""
TRAIN = """\
#!/usr/bin/env python3
import json, os
from pathlib import Path
model = Path(os.environ["MODEL_DIR"])
params = json.loads(Path(os.environ["PARAMS_FILE"]).read_text())
rows = len((Path(os.environ["DATA_DIR"]) / "rows").read_text().split())
base = os.environ.get("BASE_MODEL_DIR")
weight = params["rate"] * rows + (float((Path(base) / "weights").read_text()) if base else 0)
(model / "checkpoints").mkdir(exist_ok=True)
(model / "checkpoints" / f"{os.environ['ATTEMPT']}.txt").write_text("made")
if int(os.environ["ATTEMPT"]) <= params.get("failures", 0):
    raise SystemExit("out of luck")
(model / "weights").write_text(str(weight))
(model / "metrics.json").write_text(json.dumps({"weight": weight}))
print("trained")
"""


def family(site: NodeSite) -> None:
    """A dataset, a base that is trained on it, and a finetune of that."""
    site.dockerfile("src/data", "load.sh", DATA)
    site.dockerfile("src/model", "train.sh", TRAIN)
    site.write(
        "data.yaml",
        "kind: Dataset\nmetadata: {name: rows}\nspec:\n"
        "  source: {git: {url: ., path: src/data}}\n  load: {params: {rows: 7}}\n",
    )
    site.write(
        "base.yaml",
        "kind: Model\nmetadata: {name: base}\nspec:\n"
        "  source: {git: {url: ., path: src/model}}\n"
        "  training: {mode: Scratch, dataset: {name: rows}, params: {rate: 2}}\n",
    )
    site.write(
        "fine.yaml",
        "kind: Model\nmetadata: {name: fine}\nspec:\n  source: {model: {name: base}}\n"
        "  training: {dataset: {name: rows}, params: {rate: 0.5, failures: 1}, retries: 1}\n",
    )


def all_ready(site: NodeSite) -> bool:
    phases = site.phases()
    assert "Failed" not in phases.values(), site.statuses()
    return len(phases) == 3 and set(phases.values()) == {"Ready"}


def check_family(site: NodeSite) -> dict[str, Any]:
    statuses = site.statuses()
    assert statuses["base"]["artifact"]["metrics"] == {"weight": 14.0}
    assert statuses["fine"]["artifact"]["metrics"] == {"weight": 17.5}
    (task,) = [t for t in statuses["fine"]["tasks"] if t["task"] == "train"]
    assert task["attempts"] == 2
    assert statuses["base"]["image"].startswith(f"{site.cluster.registry}/models/")
    return statuses
