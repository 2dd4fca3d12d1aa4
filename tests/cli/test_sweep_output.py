"""The commands say which training of a sweep they mean, and which have failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.e2e.site import Site

#: A training of depth 2 fails, and so does each of a sweep that is to fail.
TRAIN = (
    'test "$PARAM_DEPTH" != 2 || exit 3\ntest "$PARAM_FAILS" = no || exit 4\n'
    'echo "depth $PARAM_DEPTH"\necho "{\\"acc\\": $PARAM_DEPTH}" > "$MODEL_DIR/metrics.json"\n'
)
MATRIX = "    matrix: {params: {depth: [1, 2, 3]}, best: {metric: acc, goal: maximize}}\n"


@pytest.fixture
def site(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path)
    site.trained("swept", TRAIN, params={"fails": "no"}, more=MATRIX)
    monkeypatch.chdir(site.root)
    return site


def test_a_sweep_with_some_failed_trainings_is_ready_with_a_warning(site: Site, cli: Cli) -> None:
    done = site.sync()
    assert (done.returncode, site.phases()) == (0, {"swept": "Ready"})
    warning = "warning: Model default/swept is Ready, and 1 of its 3 trainings failed: depth=2: "
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("warning: ")]
    assert line.startswith(warning)
    assert "exit code 3" in line


def test_a_sweep_whose_trainings_all_failed_has_failed(site: Site) -> None:
    site.scratch("swept", params={"fails": "yes"}, more=MATRIX)
    done = site.sync()
    assert (done.returncode, site.phases()) == (1, {"swept": "Failed"})
    assert "warning: " not in done.stderr


def test_the_log_of_a_sweep_says_of_which_training_it_is(site: Site, cli: Cli) -> None:
    assert site.sync().returncode == 0
    variants = {
        each["params"]["depth"]: each["key"] for each in site.statuses()["swept"]["variants"]
    }
    said = cli("logs", "swept", code=0)
    depth = next(each for each in variants if f"train of depth={each} (" in said.err)
    assert f"({variants[depth][:12]}; `reconciler status swept` has the keys of 2 more)" in said.err
    said = cli("logs", variants[1][:12], code=0)
    assert "train of depth=1 (" in said.err
    assert said.out == "depth 1\n"
