"""The daemon killed at random points, a hundred times: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.site import Site, stop

KILLS = 100
SEED = 20261123
TRAIN = 'sleep 0.3\necho "$PARAM_EPOCHS" > "$MODEL_DIR/weights"\n'


def manifests(site: Site, epochs: dict[str, int]) -> None:
    """Two bases, and chains of Models off them."""
    for base in ("base0", "base1"):
        site.trained(base, TRAIN, params={"epochs": epochs.get(base, 0)})
    for number in range(6):
        upstream = f"base{number % 2}" if number < 4 else f"m{number - 4}"
        site.finetune(f"m{number}", upstream, params={"epochs": epochs.get(f"m{number}", 0)})


@pytest.mark.slow("a daemon lives 1.3 seconds on average, a hundred times")
@pytest.mark.timeout(1200)
def test_killed_a_hundred_times_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    (tmp_path / "killed").mkdir()
    (tmp_path / "undisturbed").mkdir()
    site = Site(tmp_path / "killed")
    epochs: dict[str, int] = {}
    manifests(site, epochs)
    site.push()
    for number in range(KILLS):
        if number % 4 == 3:  # there must be work to be killed in
            changed = chance.choice([f"m{i}" for i in range(6)] * 2 + ["base0", "base1"])
            epochs[changed] = number
            manifests(site, epochs)
            site.push()
        daemon = site.start()
        with pytest.raises(subprocess.TimeoutExpired):  # it goes on until it is killed
            daemon.wait(chance.uniform(0.4, 2.2))
        stop(daemon, signal.SIGKILL)
    assert site.run_once().returncode == 0
    assert "Traceback" not in site.log()

    started = site.started()
    reference = Site(tmp_path / "undisturbed")
    reference.ledger = site.ledger  # it is in the env of the manifests, and so in their keys
    manifests(reference, epochs)
    assert reference.sync().returncode == 0

    killed, undisturbed = site.statuses(), reference.statuses()
    assert killed.keys() == undisturbed.keys()
    for name, status in undisturbed.items():
        assert killed[name]["phase"] == status["phase"] == "Ready"
        assert killed[name]["artifact"]["key"] == status["artifact"]["key"]
        assert killed[name]["tasks"][-1]["attempts"] == 1
    assert {key: count for key, count in started.items() if count != 1} == {}
    finals = {(name, status["artifact"]["key"]) for name, status in killed.items()}
    assert finals <= started.keys()
