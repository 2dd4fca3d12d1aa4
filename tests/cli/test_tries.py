"""``run --once --set``: other params are tried without a commit, and no work is done twice."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.e2e.site import Site, environment, git, stop, until
from tests.git.remotes import HttpRemote

TRAIN = 'echo "$PARAM_LR" > "$MODEL_DIR/weights"\n'
#: A training that goes on until its test lets it.
HELD = 'until test -e "$GATE"; do sleep 0.05; done\n' + TRAIN


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.trained("base", TRAIN, params={"lr": 1, "layers": {"hidden": 4}})
    site.finetune("tuned", "base", params={"lr": 1})
    site.script("src/tuned/train.sh", TRAIN)
    return site


def tip(site: Site) -> str:
    return git(site.remote, "rev-parse", site.branch).strip()


def tries(site: Site) -> list[str]:
    return [each.name for each in (site.root / "state/runs").iterdir() if "try-" in each.name]


def markers(site: Site, name: str) -> list[dict[str, object]]:
    folder = site.root / "state/buckets/default/clusters/local/namespaces/default/models" / name
    return [json.loads(each.read_text()) for each in folder.glob("*/completed.json")]


def test_a_try_leaves_an_artifact_and_no_trace_in_git(site: Site) -> None:
    assert site.sync().returncode == 0
    site.ran()
    before = tip(site), git(site.remote, "rev-parse", "main"), site.statuses()
    done = site.run_once("--set", "training.params.lr=0.5", "base")
    assert done.returncode == 0, done.stderr
    assert "Tried Model default/base with training.params.lr=0.5. It is Ready" in done.stdout
    assert site.ran() == {"base": 1}
    assert (tip(site), git(site.remote, "rev-parse", "main"), site.statuses()) == before
    assert tries(site) == []
    local = [each for each in markers(site, "base") if each.get("local") is True]
    assert [each["params"] for each in local] == [{"lr": 0.5, "layers": {"hidden": 4}}]
    assert str(local[0]["key"])[:12] in done.stdout


def test_the_beginning_of_a_key_stands_for_its_object(site: Site) -> None:
    site.push()
    early = site.run_once("--set", "training.params.lr=0.5", "abcdef")
    assert (early.returncode, "no object is called abcdef" in early.stderr) == (1, True)
    assert site.run_once().returncode == 0
    site.ran()
    key = str(site.statuses()["base"]["artifact"]["key"])
    done = site.run_once("--set", "training.params.lr=0.5", key[:12])
    assert done.returncode == 0, done.stderr
    assert "Tried Model default/base with training.params.lr=0.5. It is Ready" in done.stdout
    assert site.ran() == {"base": 1}
    none = "0123456789" if not key.startswith("0123456789") else "9876543210"
    wrong = site.run_once("--set", "training.params.lr=0.5", none)
    assert (wrong.returncode, f"no object is called {none}" in wrong.stderr) == (1, True)


def test_a_key_is_looked_up_in_the_status_that_the_try_has_read(site: Site) -> None:
    assert site.sync().returncode == 0
    site.ran()
    key = str(site.statuses()["base"]["artifact"]["key"])
    with closing(HttpRemote(site.root)) as remote:
        site.configure_section("repository", url=remote.url("manifests.git"))
        site.configure_more(sources={"allow": ["http://*"]})
        done = site.run_once("--set", "training.params.lr=0.5", key[:12])
    assert done.returncode == 0, done.stderr
    assert site.ran() == {"base": 1}
    assert list(site.root.rglob("reader.git")) == [], "the branch was read a second time"


def test_a_sync_of_the_same_params_takes_the_artifact_over(site: Site) -> None:
    assert site.sync().returncode == 0
    assert site.run_once("--set", "training.params.lr=0.5", "base").returncode == 0
    (local,) = [each for each in markers(site, "base") if each.get("local") is True]
    site.ran()
    site.edit("base.yaml", '"lr": 1', '"lr": 0.5')
    assert site.sync().returncode == 0
    assert site.ran() == {"tuned": 1}  # which is made from the base
    assert site.statuses()["base"]["artifact"]["key"] == local["key"]
    assert site.run_once("--set", "training.params.lr=1", "base").returncode == 0
    assert site.ran() == {}  # it was made before the change


def test_a_try_makes_what_it_needs_as_a_sync_does_and_nothing_else(site: Site) -> None:
    site.trained("other", TRAIN, params={"lr": 1})
    site.push()
    done = site.run_once("--set", "training.params.lr=2", "tuned")
    assert done.returncode == 0, done.stderr
    assert site.ran() == {"base": 1, "tuned": 1}
    assert "local" not in markers(site, "base")[0]
    assert site.run_once().returncode == 0
    assert site.ran() == {"tuned": 1, "other": 1}


def test_a_nested_param_and_one_that_is_text_are_set_as_in_a_manifest(site: Site) -> None:
    assert site.sync().returncode == 0
    nested = site.run_once("--set", "training.params.layers.hidden=8", "base")
    assert nested.returncode == 0, nested.stderr
    text = site.run_once("--set", "training.params.lr='0.5'", "base")
    assert text.returncode == 0, text.stderr
    params = [each["params"] for each in markers(site, "base") if each.get("local") is True]
    assert {"lr": 1, "layers": {"hidden": 8}} in params
    assert {"lr": "0.5", "layers": {"hidden": 4}} in params


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.params.lr=1", "names no param; did you mean training.params.lr?"),
        ("training.lr=1", "names no param; Model default/base has training.params.NAME"),
        ("training.params.lt=1", "there is no training.params.lt in Model default/base; did you"),
        ("training.params.layers.hiden=1", "did you mean training.params.layers.hidden?"),
        ("training.params.zzz=1", "it has layers, lr"),
        ("training.params.lr=[", "--set training.params.lr: the value is no YAML"),
        ("training.params.lr", "expected PATH=VALUE"),
        ("training.params.lr=1", "--set changes nothing"),
    ],
)
def test_a_change_that_cannot_be_is_refused_before_anything_runs(
    site: Site, change: str, told: str
) -> None:
    site.push()
    done = site.run_once("--set", change, "base")
    assert done.returncode == 64
    assert told in done.stderr
    assert site.ran() == {}


def test_a_param_of_a_matrix_is_not_set(site: Site) -> None:
    site.trained("sweep", TRAIN, params={"lr": 1}, more="    matrix: {params: {depth: [1, 2]}}\n")
    site.push()
    done = site.run_once("--set", "training.params.depth=3", "sweep")
    assert done.returncode == 64
    assert "training.params.depth has its values from training.matrix" in done.stderr


def test_a_try_is_for_the_local_engine_and_for_one_object(site: Site) -> None:
    site.push()
    assert "no object is called bse" in site.run_once("--set", "training.params.lr=2", "bse").stderr
    for arguments in (("base",), ("--set", "training.params.lr=2")):
        done = site.run_once(*arguments)
        assert done.returncode == 64
        assert "a try needs all three" in done.stderr
    site.configure(
        engine="kubernetes",
        registry={"url": "registry.example.com/models"},
        buckets={"default": {"url": "gs://models"}},
    )
    done = site.run_once("--set", "training.params.lr=2", "base")
    assert done.returncode == 64
    assert "on the local engine alone" in done.stderr


def test_a_try_that_fails_says_where_its_log_is_and_may_be_repeated(site: Site) -> None:
    site.trained("base", 'test "$PARAM_LR" = 1\n' + TRAIN, params={"lr": 1})
    assert site.sync().returncode == 0
    site.ran()
    before = tip(site)
    for _ in range(2):
        done = site.run_once("--set", "training.params.lr=2", "base")
        assert done.returncode == 1
        (log,) = [each for each in done.stdout.splitlines() if each.startswith("    log:")]
        assert Path(log.partition(":")[2].strip()).is_file()
    assert site.ran() == {"base": 2}
    assert tip(site) == before


@pytest.mark.parametrize("clears", [":", 'rm -rf "$MODEL_DIR"/*'])
def test_the_log_of_a_failed_try_is_printed_by_its_key(
    site: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch, clears: str
) -> None:
    body = f'{clears}\necho "lr $PARAM_LR"\ntest "$PARAM_LR" = 1\n' + TRAIN
    site.trained("base", body, params={"lr": 1})
    assert site.sync().returncode == 0
    done = site.run_once("--set", "training.params.lr=2", "base")
    (log,) = [each for each in done.stdout.splitlines() if each.startswith("    log:")]
    key = Path(log.partition(":")[2].strip()).parents[1].name
    monkeypatch.chdir(site.root)
    said = cli("logs", key[:12], code=0)
    assert said.out.startswith("lr 2\n[reconciler]")
    assert f"/{key}/logs/attempt-1.log" in said.err
    assert key[:12] not in cli("compare", "base", code=0).out, "it is no artifact"
    assert cli("get", "base", key, "somewhere", code=1).out == ""


def test_a_daemon_that_runs_keeps_a_try_out(site: Site) -> None:
    site.push()
    with site.running():
        until(lambda: site.phases().get("tuned") == "Ready", what="the first sync")
        done = site.run_once("--set", "training.params.lr=2", "base")
    assert done.returncode == 1
    assert "another daemon uses" in done.stderr


def begin(site: Site) -> subprocess.Popen[str]:
    """Begin a try whose training goes on until the file ``gate`` is there."""
    gate = site.root / "gate"
    gate.touch()
    site.trained("base", HELD.replace("$GATE", str(gate)), params={"lr": 1})
    assert site.sync().returncode == 0
    site.ran()
    gate.unlink()
    with (site.root / "try.log").open("w") as log:
        attempt = subprocess.Popen(
            [*site.command("run", "--once", "--set", "training.params.lr=2", "base")],
            env=environment(),
            text=True,
            stdout=log,
            stderr=log,
        )
    until(site.ledger.read_text, what="the training")
    return attempt


def test_ctrl_c_ends_the_run_of_a_try(site: Site) -> None:
    attempt = begin(site)
    before = tip(site)
    assert stop(attempt, signal.SIGINT) == 130
    assert "the run of the try was ended" in (site.root / "try.log").read_text()
    assert tries(site) == []
    assert not any(each.get("local") for each in markers(site, "base"))
    assert tip(site) == before


def test_a_killed_try_is_ended_by_the_next_sync_and_is_in_no_status(site: Site) -> None:
    attempt = begin(site)
    stop(attempt, signal.SIGKILL)
    assert len(tries(site)) == 1
    before = site.statuses()
    with site.running():
        until(lambda: not tries(site), what="the run of the try to end")
    (site.root / "gate").touch()
    assert site.run_once().returncode == 0
    assert site.statuses() == before
    assert not any(each.get("local") for each in markers(site, "base"))


def test_compare_shows_a_try_as_local_until_a_commit_has_it(
    site: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert site.sync().returncode == 0
    assert site.run_once("--set", "training.params.lr=2", "base").returncode == 0
    monkeypatch.chdir(site.root)
    rows = cli("compare", "base", code=0).out.splitlines()
    assert [line.split()[:3] for line in rows if "(" in line] == [
        [rows[2].split()[0], "(local)", "2"],
        [rows[3].split()[0], "(current)", "1"],
    ]
    found = json.loads(cli("compare", "base", "--format", "json", code=0).out)["artifacts"]
    assert [each["local"] for each in found] == [True, False]
    site.edit("base.yaml", '"lr": 1', '"lr": 2')
    assert site.sync().returncode == 0
    assert "(local)" not in cli("compare", "base", code=0).out


def test_get_and_logs_know_the_key_of_a_try(
    site: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert site.sync().returncode == 0
    assert site.run_once("--set", "training.params.lr=2", "base").returncode == 0
    (local,) = [each for each in markers(site, "base") if each.get("local") is True]
    key = str(local["key"])
    monkeypatch.chdir(site.root)
    for number, wanted in enumerate([("base", key[:8]), (key[:12],)]):
        target = tmp_path / f"copy-{number}"
        said = cli("get", *wanted, str(target), code=0)
        assert said.out.startswith(f"Model default/base, artifact {key[:12]}: ")
        assert json.loads((target / "completed.json").read_text())["key"] == key
    said = cli("logs", key[:12], code=0)
    assert f"/{key}/logs/attempt-1.log" in said.err
    assert cli("get", "base", "f" * 12, str(tmp_path / "none"), code=1).out == ""
