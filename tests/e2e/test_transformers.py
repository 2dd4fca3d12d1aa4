"""The example of Hugging Face on the local engine: the Trainer, unmodified, which is killed once.

PyTorch is 3 GB to download and 6 GB on the disk, so it runs by ``make test-transformers`` alone.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from reconciler.engine import Curves, read_curves
from tests.e2e.site import Site, until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples-hugging-face"
#: The environment is made at the first run.
PATIENCE = 2400.0

pytestmark = [
    pytest.mark.transformers,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(
        "RECONCILER_TEST_TRANSFORMERS" not in os.environ, reason="run by make test-transformers"
    ),
]


def test_a_trainer_of_transformers_reports_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    site = Site(tmp_path)
    shutil.copytree(EXAMPLE, site.work, dirs_exist_ok=True)
    (site.work / "reconciler.yaml").unlink()
    secret = tmp_path / "secrets" / "hugging-face" / "token"
    secret.parent.mkdir(parents=True)
    secret.write_text("hf_token")
    secret.chmod(0o600)
    site.configure(local={"slots": 1, "secrets": "secrets"})
    site.push()
    with site.running():
        until(lambda: _step(site, 1) >= 100, what="100 steps", patience=PATIENCE)
        _kill_training(site)
        until(lambda: site.phases() == {"tiny-gpt": "Ready"}, what="its end", patience=PATIENCE)
    status = site.statuses()["tiny-gpt"]
    assert status["artifact"]["metrics"]["eval_loss"] < 3
    assert "HF_TOKEN is set" in site.call("logs", "tiny-gpt", "--task", "load").stdout
    artifact = site.artifact("tiny-gpt")
    log = (artifact / "logs" / "attempt-2.log").read_text()
    assert "attempt 2 goes on from checkpoint-" in log
    names = {file.name for file in artifact.iterdir()}
    assert names >= {"model.safetensors", "config.json", "metrics.json"}
    assert not (artifact / "checkpoints").exists()
    for attempt in (1, 2):
        assert "loss" in _curves(artifact / "logs" / f"progress-{attempt}.jsonl").metrics


def _step(site: Site, attempt: int) -> float:
    """Return the last step that an attempt of the training reported."""
    files = site.root.glob(f"state/buckets/**/logs/progress-{attempt}.jsonl")
    steps = [step for file in files for step in _curves(file).metrics.get("loss", ())]
    return max((point.step or 0 for point in steps), default=0)


def _curves(file: Path) -> Curves:
    with file.open("rb") as lines:
        return read_curves(lines) or Curves()


def _kill_training(site: Site) -> None:
    for process in psutil.process_iter(["cmdline", "environ"]):
        line = process.info["cmdline"] or []
        own = str(site.root) in str((process.info["environ"] or {}).get("MODEL_DIR", ""))
        if own and "train.py" in line:
            process.send_signal(signal.SIGKILL)
