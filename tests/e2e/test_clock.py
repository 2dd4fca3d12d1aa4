"""The machine's clock is set while the daemon and a training go on, as by NTP or a resumed VM."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.clock import WallClock
from tests.e2e.site import Site, stop, until


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    """The clock of the daemon and of its runs."""
    clock = WallClock.make(tmp_path)
    if clock is None:
        pytest.skip("no C compiler to make a clock that can be set")
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    return clock


def trained(site: Site) -> str | None:
    """The newest artifact of the object, once it is Ready."""
    status = site.statuses().get("a", {})
    return status["artifact"]["key"] if status.get("phase") == "Ready" else None


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_set_leaves_the_daemon_and_its_durations_right(
    seconds: int, site: Site, clock: WallClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    begun, gate = site.root / "begun", site.root / "gate"
    site.script(
        "src/a/train.sh",
        f'touch {begun}; while ! test -e {gate}; do sleep 0.1; done\necho w > "$MODEL_DIR/w"\n',
    )
    site.scratch("a", more="    resources: {gpu: {count: 1}}\n")
    site.push()
    daemon = site.start()
    try:
        until(begun.exists, what="the command to start")
        clock.set(seconds)
        gate.touch()
        until(lambda: trained(site), what="the training")
        first = trained(site)
        [marker] = (json.loads(m.read_text()) for m in site.root.glob("state/**/completed.json"))
        assert 0 < marker["durationSeconds"] < 1800
        assert 0 < marker["gpuSeconds"] < 1800
        assert marker["started"] < marker["finished"]
        site.edit("a.yaml", "params: {}", "params: {epochs: 2}")
        site.push()
        until(lambda: trained(site) not in (None, first), what="a training by the same daemon")
    finally:
        code = stop(daemon)
    assert code == 0
    assert not re.search("Traceback|metrics could not be updated", site.log())
