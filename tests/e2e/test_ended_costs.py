"""What an ended run has cost is known to a daemon that comes after a kill."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.site import Site, stop, until

#: Of the pushes of statuses: what is pushed sooner was pushed for a reason.
_NEVER = "1h"
#: Its end takes longer than the start of another daemon.
SLOW = "trap '' TERM\nfor n in 1 2 3 4 5 6 7 8; do sleep 1; done\nsleep 600\n"
CORE = "    resources: {cpu: 1}\n"


@pytest.mark.parametrize("body", ["sleep 600\n", SLOW], ids=["at once", "slowly"])
def test_a_daemon_killed_as_it_ends_a_run_forgets_no_cost(site: Site, body: str) -> None:
    site.configure(prices={"currency": "EUR", "cpu": 3600})
    site.trained("m", body, params={"epochs": 1}, more=CORE)
    site.push()
    with site.running() as daemon:
        until(lambda: site.phases() == {"m": "Training"}, what="the training")
        stop(daemon)
    site.configure_section("status", interval=_NEVER)
    site.trained("m", params={"epochs": 2}, more=CORE)
    site.push()
    with site.running() as daemon:
        until(lambda: "run ended" in site.log(), what="the end of the run")
        stop(daemon, signal.SIGKILL)
    (ending,) = site.statuses()["m"]["ending"]
    assert "spent" not in site.statuses()["m"]

    site.configure_section("status", interval="0.2s")
    assert site.run_once().returncode == 0
    status = site.statuses()["m"]
    assert status["phase"] == "Ready"
    assert "ending" not in status
    (entry,) = [each for each in status["history"] if each["phase"] == "Interrupted"]
    assert entry == ending["entry"]
    assert entry["reason"] == "Superseded"
    assert entry["cost"] > 0
    assert sum(status["spent"].values()) >= entry["cost"]
