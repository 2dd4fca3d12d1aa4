"""A test with code of its own: two repositories, two environments, and no training for a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.site import Site
from tests.wheels import only_tiny

TRAIN = """\
if python -c 'import tiny' 2> /dev/null; then echo "this environment is the test's"; exit 1; fi
echo 0.9 > "$MODEL_DIR/accuracy"
"""
#: The environment of the model has no package ``tiny``.
EVALUATE = """\
python - <<'END'
import json, os, tiny
accuracy = float(open(os.environ["MODEL_DIR"] + "/accuracy").read())
with open(os.environ["RESULT_DIR"] + "/metrics.json", "w") as file:
    json.dump({"accuracy": accuracy, "strictness": %s}, file)
END
"""


@dataclass
class Gated:
    """A Model that follows its code in one repository, and that of its test in another."""

    site: Site
    code: Site
    test: Site

    def strict(self, strictness: int, requirements: str = "tiny==1.0\n") -> str:
        """Push a test; returns its commit."""
        self.test.script("accuracy/evaluate.sh", EVALUATE % strictness)
        self.test.write("accuracy/requirements.txt", requirements)
        return self.test.push()


@pytest.fixture
def gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gated:
    only_tiny(tmp_path / "wheels", monkeypatch)
    sites = []
    for name in ("manifests", "code", "test"):
        (tmp_path / name).mkdir()
        sites.append(Site(tmp_path / name))
    site, code, test = sites
    site.configure_more(sources={"allow": ["file://*"], "interval": "1s"})
    code.script("net/train.sh", TRAIN)
    code.push()
    site.write(
        "digits.yaml",
        "kind: Model\nmetadata: {name: digits}\nspec:\n"
        f"  source: {{git: {{url: 'file://{code.remote}', path: net, update: Follow}}}}\n"
        f"  training: {{mode: Scratch, env: {site.env('train')}}}\n"
        "  evaluation:\n    command: [evaluate.sh]\n"
        f"    source: {{git: {{url: 'file://{test.remote}', path: accuracy, update: Follow}}}}\n"
        f"    env: {site.env('evaluate')}\n    require: [accuracy >= 0.5]\n",
    )
    return Gated(site, code, test)


def test_a_test_that_moves_is_run_again_and_nothing_is_trained(gated: Gated) -> None:
    site = gated.site
    first = gated.strict(1)
    done = site.sync()
    assert (done.returncode, site.phases()) == (0, {"digits": "Ready"}), done.stderr
    assert site.ran() == {"train": 1, "evaluate": 1}
    before = site.statuses()["digits"]
    assert before["evaluationSource"]["commit"] == first
    assert before["artifact"]["metrics"] == {"accuracy": 0.9, "strictness": 1}
    second = gated.strict(2)
    done = site.run_once()
    assert done.returncode == 0, done.stderr
    assert site.ran() == {"evaluate": 1}
    now = site.statuses()["digits"]
    assert now["evaluationSource"]["commit"] == second
    assert now["source"] == before["source"]
    assert now["artifact"]["key"] == before["artifact"]["key"]
    assert now["artifact"]["metrics"] == {"accuracy": 0.9, "strictness": 2}
    told = site.call("status", "digits", "--history").stdout
    assert told.count("evaluation build") == 2


def test_a_build_of_the_test_that_fails_is_told_as_such(gated: Gated) -> None:
    site = gated.site
    gated.strict(1, requirements="no-such-package==1.0\n")
    done = site.sync()
    assert done.returncode == 1, done.stdout
    assert site.ran() == {"train": 1}, "it does not keep the model from its training"
    status = site.statuses()["digits"]
    assert status["phase"] == "Failed"
    assert status["message"].startswith("evaluation build: ")
    assert "artifact" not in status, "nothing has accepted it"
    told = site.call("why", "digits").stdout
    assert "evaluation build: failed" in told
    gated.strict(1)
    done = site.run_once()
    assert (done.returncode, site.phases()) == (0, {"digits": "Ready"}), done.stderr
    assert site.ran() == {"evaluate": 1}
