"""What goes wrong ends as a clear status; the other objects are unharmed, and nothing is pruned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.site import BRANCH, GOOD, Site, git, hook, stop, until


def good(site: Site) -> None:
    """An object that must stay as it is, whatever happens beside it."""
    site.trained("good")


def unharmed(site: Site) -> None:
    assert site.phases()["good"] == "Ready"


def test_an_invalid_manifest_keeps_its_object_and_says_where_it_is_wrong(site: Site) -> None:
    good(site)
    site.trained("a")
    site.sync()
    artifact = site.statuses()["a"]["artifact"]
    site.edit("a.yaml", "mode: Scratch", "mode: Scrtach")
    assert site.sync().returncode == 1
    status = site.statuses()["a"]
    assert status["phase"] == "Invalid"
    assert "a.yaml:6:" in status["message"]
    assert 'did you mean "Scratch"' in status["message"]
    assert status["artifact"] == artifact
    unharmed(site)


def test_a_last_good_form_goes_on_while_the_manifest_is_wrong(site: Site) -> None:
    site.trained("a")
    site.finetune("b", "a")
    site.sync()
    site.edit("a.yaml", "mode: Scratch", "mode: Scrtach")
    site.finetune("b", "a", params={"epochs": 2})
    site.push()
    site.ran()
    site.run_once()
    assert site.ran() == {"b": 1}, "the base is still what it was"
    assert site.phases() == {"a": "Invalid", "b": "Ready"}


def test_a_file_that_does_not_parse_removes_nothing(site: Site) -> None:
    good(site)
    site.trained("a")
    site.sync()
    site.write("a.yaml", "kind: Model\nmetadata: {name: a\n")
    assert site.sync().returncode == 1
    status = site.statuses()["a"]
    assert (status["phase"], "a.yaml" in status["message"]) == ("Invalid", True)
    assert status["artifact"]
    assert "a.yaml" in site.show("sync.yaml")
    unharmed(site)


def test_a_file_whose_name_is_not_utf_8_is_an_error_that_is_recorded(site: Site) -> None:
    good(site)
    site.scratch("a")
    (site.work / "a.yaml").rename(site.work / os.fsdecode(b"\xe9.yaml"))
    assert site.sync().returncode == 1
    assert "xe9.yaml" in site.show("sync.yaml")
    unharmed(site)


def test_a_dangling_reference_and_a_cycle_are_invalid(site: Site) -> None:
    good(site)
    site.finetune("dangling", "godo")
    site.finetune("chicken", "egg")
    site.finetune("egg", "chicken")
    assert site.sync().returncode == 1
    statuses = site.statuses()
    assert {n: s["phase"] for n, s in statuses.items()} == {
        "good": "Ready",
        "dangling": "Invalid",
        "chicken": "Invalid",
        "egg": "Invalid",
    }
    assert 'did you mean "good"' in statuses["dangling"]["message"]
    assert "chicken → egg → chicken" in statuses["chicken"]["message"]


def test_a_source_that_cannot_be_reached_makes_its_object_wait(site: Site) -> None:
    good(site)
    site.write(
        "a.yaml",
        "kind: Model\nmetadata: {name: a}\nspec:\n"
        "  source: {git: {url: ../nowhere.git}}\n  training: {mode: Scratch}\n",
    )
    site.push()
    assert site.run_once("--patience", "1s").returncode == 3
    status = site.statuses()["a"]
    assert status["phase"] == "Waiting"
    assert "nowhere.git" in status["message"]
    unharmed(site)


def test_a_command_that_fails_hangs_or_is_not_there(site: Site) -> None:
    good(site)
    site.trained("fails", "echo the reason is told here >&2; exit 3\n")
    site.trained("hangs", "trap '' TERM; sleep 1000 & wait; sleep 1000\n")
    site.edit("hangs.yaml", "mode: Scratch", "mode: Scratch\n    timeout: 1s")
    site.write("src/missing/README", "no train.sh\n")
    site.scratch("missing")
    site.finetune("after", "fails")
    assert site.sync().returncode == 1
    statuses = site.statuses()
    assert {name: s["phase"] for name, s in statuses.items()} == {
        "good": "Ready",
        "fails": "Failed",
        "hangs": "Failed",
        "missing": "Failed",
        "after": "Waiting",
    }
    assert "3" in statuses["fails"]["message"]
    assert "train.sh" in statuses["missing"]["message"]
    log = statuses["fails"]["tasks"][-1]["log"].removeprefix("file://")
    assert "the reason is told here" in Path(log).read_text()


def test_a_failed_training_stays_failed_until_something_of_it_changes(site: Site) -> None:
    site.trained(
        "a", 'ls "$MODEL_DIR" >> "$SITE_LEDGER.seen"; touch "$MODEL_DIR/checkpoint"; exit 1\n'
    )
    site.push()
    for _ in range(2):
        assert site.run_once().returncode == 1
    site.write("unrelated.txt", "a later sync\n")
    site.sync()
    assert site.ran() == {"a": 1}

    site.edit("a.yaml", "mode: Scratch", "mode: Scratch\n    timeout: 1h")
    site.sync()
    assert site.ledger.read_text().split()[1] == "2", "ATTEMPT counts over runs of a key"
    assert "checkpoint" in Path(f"{site.ledger}.seen").read_text()
    assert site.ran() == {"a": 1}

    site.edit("a.yaml", "{name: a}", "{name: a, annotations: {substratus.ai/retry: again}}")
    site.sync()
    assert site.ran() == {"a": 1}

    site.edit("a.yaml", "params: {}", "params: {epochs: 2}")
    site.sync()
    assert site.ledger.read_text().split()[1] == "1", "another key begins anew"
    assert site.ran() == {"a": 1}


def test_retries_find_what_earlier_attempts_left(site: Site) -> None:
    site.trained(
        "a",
        'if [ -e "$MODEL_DIR/checkpoint" ]; then mv "$MODEL_DIR/checkpoint" "$MODEL_DIR/weights";'
        ' else echo half > "$MODEL_DIR/checkpoint"; exit 1; fi\n',
    )
    site.edit("a.yaml", "mode: Scratch", "mode: Scratch\n    retries: 2")
    assert site.sync().returncode == 0
    assert site.ran() == {"a": 2}
    (_, train) = site.statuses()["a"]["tasks"]
    assert train["attempts"] == 2


def test_a_status_branch_of_another_daemon_is_refused(site: Site) -> None:
    good(site)
    site.sync()
    tip = git(site.remote, "rev-parse", BRANCH)
    site.configure(repository={"url": "./manifests.git", "path": "elsewhere"})
    done = site.run_once()
    assert done.returncode == 1
    assert "belongs to a daemon with path" in done.stderr
    assert git(site.remote, "rev-parse", BRANCH) == tip


def test_a_path_that_is_no_folder_is_an_error_and_removes_nothing(site: Site) -> None:
    good(site)
    site.write("prod/models/keep.txt", "a folder without manifests\n")
    site.push()
    site.configure(repository={"url": "./manifests.git", "path": "prod"})
    assert site.run_once().returncode == 0, "a folder that has no manifests yet"
    site.configure(repository={"url": "./manifests.git", "path": "pord"})
    git(site.remote, "update-ref", "-d", f"refs/heads/{BRANCH}")
    ended = site.run_once()
    assert ended.returncode == 1
    assert "pord: repository.path is no folder of the repository" in ended.stdout
    assert "pord" in site.show("sync.yaml")


def test_a_repository_that_is_not_there_is_one_clear_line(site: Site) -> None:
    site.configure(repository={"url": "./nowhere.git"})
    done = site.run_once()
    assert done.returncode == 1
    assert "nowhere.git" in done.stderr.splitlines()[-1]


def test_a_status_that_cannot_be_pushed_is_a_failure_of_the_one_sync(site: Site) -> None:
    site.trained("a")
    site.push()
    hook(site.remote, "pre-receive", "echo this branch is protected\nexit 1")
    done = site.run_once()
    assert done.returncode == 1
    assert "Ready" in done.stdout
    assert "this branch is protected" in done.stderr.splitlines()[-1]
    (site.remote / "hooks/pre-receive").unlink()
    assert site.run_once().returncode == 0
    assert site.phases() == {"a": "Ready"}
    assert site.ran() == {"a": 1}


def test_a_release_waits_until_it_can_be_recorded(site: Site) -> None:
    site.configure(guard={"tasks": 0})
    site.trained("a", params={"epochs": 1})
    site.push()
    assert site.run_once().returncode == 0
    assert site.ran() == {"a": 1}
    site.scratch("a", params={"epochs": 2})
    site.push()
    with site.running() as daemon:
        until(lambda: site.phases().get("a") == "Held", what="the hold")
        only_status = 'while read -r _ _ ref; do case "$ref" in *status*) exit 1;; esac; done'
        hook(site.remote, "pre-receive", only_status)
        site.write(".reconciler/release", f"{site.statuses()['a']['hold']}\n")
        site.push()
        until(lambda: "status cannot be pushed" in site.log(), what="a push that fails")
        assert daemon.poll() is None
        site.push()  # another sync in the meantime
        until(lambda: site.log().count('"new head"') == 3, what="that sync")
        assert site.ran() == {}, "what is released runs once the release is recorded"
        (site.remote / "hooks/pre-receive").unlink()
        until(lambda: site.phases().get("a") == "Ready", what="the released training")
        assert site.ran() == {"a": 1}


def test_a_stopped_daemon_leaves_its_runs_to_the_next_one(site: Site) -> None:
    site.trained("a", 'while [ ! -e "$SITE_LEDGER.go" ]; do sleep 0.05; done\n' + GOOD)
    site.push()
    with site.running() as daemon:
        until(lambda: site.phases().get("a") == "Training", what="the training to begin")
        assert stop(daemon) == 0
        assert "Traceback" not in site.log()
        Path(f"{site.ledger}.go").touch()
        assert site.run_once().returncode == 0
        assert site.ran() == {"a": 1}
        assert site.phases() == {"a": "Ready"}


def test_a_superseded_training_is_cancelled_with_all_its_processes(site: Site) -> None:
    site.trained(
        "a",
        'if [ "$PARAM_EPOCHS" = 1 ]; then\n'
        'sleep 1000 9<> "$SITE_LEDGER.life" &\n: > "$SITE_LEDGER.begun"; wait; fi\n' + GOOD,
        params={"epochs": 1},
    )
    # A process has it open as long as it lives.
    life = Path(f"{site.ledger}.life")
    os.mkfifo(life)
    site.push()
    with site.running():
        until(Path(f"{site.ledger}.begun").exists, what="the training to begin")
        site.scratch("a", params={"epochs": 2})
        site.push()
        until(lambda: site.phases().get("a") == "Ready", what="the second training")
        with pytest.raises(OSError, match="No such device"):
            os.open(life, os.O_WRONLY | os.O_NONBLOCK)
        assert site.ran() == {"a": 2}
