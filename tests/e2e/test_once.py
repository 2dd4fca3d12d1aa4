"""``run --once`` ends with a true exit code: 0 done, 1 failed, 3 waits for something outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.site import Site, git

GOOD = 'echo good > "$MODEL_DIR/weights"\n'
SHORT = ("--patience", "2s")


def model(site: Site, name: str, source: str, *, training: str = "") -> None:
    site.write(
        f"{name}.yaml",
        f"kind: Model\nmetadata: {{name: {name}}}\nspec:\n  source: {source}\n"
        f"  training:\n    mode: Scratch\n    env: {site.env(name)}\n{training}",
    )


def other(site: Site) -> Path:
    """Another repository beside the manifests', with the source of a training."""
    folder = site.root / "other"
    git(site.root, "init", "--quiet", "--initial-branch=main", str(folder))
    (folder / "train.sh").write_text(f'#!/bin/sh\n{GOOD}printf "a 1 k\\n" >> "$SITE_LEDGER"\n')
    (folder / "train.sh").chmod(0o755)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Train")
    return folder


# -- faults that stay: Failed, at once ------------------------------------------------------


def url_that_leads_nowhere(site: Site) -> None:
    model(site, "a", "{git: {url: ./../../../../../../../../../../x}}")


def folder_that_is_not_in_the_commit(site: Site) -> None:
    model(site, "a", "{git: {url: ., path: nowhere}}")


def folder_that_is_not_in_a_named_commit(site: Site) -> None:
    commit = git(other(site), "rev-parse", "HEAD").strip()
    model(site, "a", f"{{git: {{url: {site.root}/other, commit: {commit}, path: nowhere}}}}")


def submodule_that_is_not_allowed(site: Site) -> None:
    folder = other(site)
    commit = git(folder, "rev-parse", "HEAD").strip()
    (folder / ".gitmodules").write_text('[submodule "m"]\npath = m\nurl = http://127.0.0.1:1/m\n')
    git(folder, "add", "--all")
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{commit},m")
    git(folder, "commit", "--quiet", "--message", "Add a submodule")
    model(site, "a", f"{{git: {{url: {site.root}/other, submodules: true}}}}")


def tree_that_is_too_deep(site: Site) -> None:
    folder = other(site)
    deep = folder / ("d/" * 201)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Go deep")
    model(site, "a", f"{{git: {{url: {site.root}/other}}}}")


def requirements_outside_of_the_source(site: Site) -> None:
    site.script("src/a/train.sh", GOOD)
    (site.work / "src/a/requirements.txt").symlink_to("/etc/hostname")
    site.scratch("a")


@pytest.mark.parametrize(
    "fault",
    [
        url_that_leads_nowhere,
        folder_that_is_not_in_the_commit,
        folder_that_is_not_in_a_named_commit,
        submodule_that_is_not_allowed,
        tree_that_is_too_deep,
        requirements_outside_of_the_source,
    ],
)
def test_what_stays_wrong_at_this_commit_fails_at_its_first_try(
    fault: Callable[[Site], None], site: Site
) -> None:
    fault(site)
    site.push()
    # With the hour of patience, a fault that were tried again would not end.
    done = site.run_once("--patience", "1h")
    status = site.statuses()["a"]
    known = fault is folder_that_is_not_in_the_commit  # without asking anybody
    assert (done.returncode, status["phase"]) == (1, "Invalid" if known else "Failed"), done.stdout
    assert all("failures" not in task for task in status.get("tasks", ())), status
    assert site.ran() == {}


# -- what this run cannot bring -------------------------------------------------------------


def gpu_that_is_not_there(site: Site) -> None:
    site.script("src/a/train.sh", GOOD)
    site.scratch("a", more="    resources: {gpu: {count: 1}}\n")


def branch_that_is_not_born(site: Site) -> None:
    other(site)
    model(site, "a", f"{{git: {{url: {site.root}/other, branch: later}}}}")


def secret_that_is_missing(site: Site) -> None:
    site.script("src/a/train.sh", GOOD)
    site.scratch("a", more="    secretEnv: {TOKEN: {name: hub, key: token}}\n")


def source_that_is_away(site: Site) -> None:
    model(site, "a", "{git: {url: 'https://127.0.0.1:1/a'}}")


@pytest.mark.parametrize(
    ("lack", "named"),
    [
        (gpu_that_is_not_there, "it needs 1, and this machine has 0"),
        (branch_that_is_not_born, "no branch later"),
        (secret_that_is_missing, "the secret for TOKEN is missing"),
        (source_that_is_away, "https://127.0.0.1:1/a"),
    ],
)
def test_what_it_cannot_bring_ends_it_with_a_list_of_what_waits(
    lack: Callable[[Site], None],
    named: str,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    lack(site)
    site.finetune("b", "a")
    site.script("src/good/train.sh", GOOD)
    site.scratch("good")
    site.push()
    done = site.run_once(*SHORT)
    assert done.returncode == 3, done.stdout + done.stderr
    listed = done.stdout.partition("These wait")[2].splitlines()
    [a, b] = [line for line in listed if line.startswith("  Model default/")]
    assert named in a
    assert "Model default/a" in b
    assert site.ran() == {"good": 1}
    assert site.phases() == {"a": "Waiting", "b": "Waiting", "good": "Ready"}


def test_a_failure_counts_more_than_what_waits(site: Site) -> None:
    site.script("src/a/train.sh", "exit 3\n")
    site.scratch("a")
    site.finetune("b", "a")
    site.push()
    done = site.run_once(*SHORT)
    assert done.returncode == 1
    assert "Model default/b: waiting for Model default/a (train)" in done.stdout
    _, _, listed = done.stdout.partition("\nThese need attention:\n")
    assert listed.startswith("  Model default/a is Failed: train: train.sh ended with exit code 3")
    assert "`reconciler logs a` prints its log." in listed


def test_what_its_manifest_suspends_or_a_user_must_release_is_no_lack(site: Site) -> None:
    site.configure(guard={"tasks": 1})
    for name in ("a", "b"):
        site.script(f"src/{name}/train.sh", GOOD)
        site.scratch(name)
    site.push()
    assert site.run_once(*SHORT).returncode == 0
    for name in ("a", "b"):
        site.edit(f"{name}.yaml", "params: {}", "params: {epochs: 2}")
    site.script("src/c/train.sh", GOOD)
    site.scratch("c", more="  suspend: true\n")
    site.push()
    done = site.run_once(*SHORT)
    assert done.returncode == 0
    assert site.phases() == {"a": "Held", "b": "Held", "c": "Suspended"}
    _, _, listed = done.stdout.partition("\nThese need attention:\n")
    hold = site.statuses()["a"]["hold"]
    told = f"  Model default/a, Model default/b are Held: needs the line {hold} in "
    assert listed.startswith(told)
    assert "What to do: Add the line to the file that the message names and commit that" in listed


def test_a_link_out_of_the_source_is_kept_and_not_followed(site: Site) -> None:
    site.script("src/a/train.sh", f'{GOOD}readlink data > "$MODEL_DIR/link"\n')
    (site.work / "src/a/data").symlink_to("/mnt/datasets")
    site.scratch("a")
    site.push()
    done = site.run_once(*SHORT)
    assert done.returncode == 0, done.stdout
    [link] = site.root.glob("state/buckets/**/link")
    assert link.read_text() == "/mnt/datasets\n"


def test_the_state_is_for_the_daemons_user_alone(site: Site) -> None:
    site.trained("a")
    site.push()
    done = site.run_once(*SHORT)
    assert done.returncode == 0, done.stdout
    assert (site.root / "state").stat().st_mode & 0o077 == 0
