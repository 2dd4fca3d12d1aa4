"""Output of `status` and `plan` after one sync."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.conftest import Cli
from tests.e2e.site import Site, environment, git
from tests.git.remotes import HttpRemote
from tests.patience import PATIENCE

AGE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d UTC, [0-9a-z]+ ago, by the sync of commit [0-9a-f]{12}"
)
TRAIN = """echo w > "$MODEL_DIR/w"
printf '{"accuracy": 0.97, "loss": 0.1}' > "$MODEL_DIR/metrics.json"
"""


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A base, its finetune, and a Model that fails; then a change that is not synced yet."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.script("src/base/train.sh", TRAIN)
    site.script("src/fails/train.sh", "echo out of luck >&2\nexit 3\n")
    site.scratch("base", params={"epochs": 3})
    site.scratch("fails")
    site.finetune("fine", "base", params={"lr": 0.5, "voice": "zoë\u202e"})
    site.edit("fine.yaml", "{name: fine}", "{name: fine, labels: {team: vision}}")
    assert site.sync().returncode == 1
    git(site.work, "fetch", "--quiet", "origin")
    return site


@pytest.fixture
def at(synced: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.chdir(synced.work)
    monkeypatch.setenv("RECONCILER_CONFIG", str(synced.root / "reconciler.yaml"))
    return synced


def rows(out: str) -> dict[str, list[str]]:
    """The cells of each object's row, by name."""
    cells = [re.split(r" {2,}", line.strip()) for line in out.splitlines()[2:]]
    return {row[1]: row for row in cells if len(row) > 1}


def test_status_is_one_row_an_object(at: Site, cli: Cli) -> None:
    said = cli("status", code=0)
    table = rows(said.out)
    assert table["base"][2] == "Ready"
    assert table["base"][-1] == "accuracy 0.97"
    assert table["fails"][2] == "Failed"
    assert "out of luck" in table["fails"][-1]


def test_status_is_found_in_a_clone_without_a_configuration(
    at: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECONCILER_CONFIG")
    assert rows(cli("status").out).keys() == {"base", "fails", "fine"}


def test_variables_alone_are_a_configuration_for_every_command(
    synced: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_REPOSITORY__URL", str(synced.remote))
    assert rows(cli("status").out).keys() == {"base", "fails", "fine"}
    cli("artifacts", code=0)


def test_where_nothing_was_synced_or_fetched_the_status_says_so(cli: Cli, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    said = cli("status", "--format", "json")
    assert (said.code, said.out) == (0, "[]\n")
    assert said.err == (
        "Note: there is no branch reconciler/status/local here: nothing was synced yet, or it was "
        "not fetched.\n"
    )


def test_status_is_narrowed_by_name_and_label(at: Site, cli: Cli) -> None:
    assert rows(cli("status", "base").out).keys() == {"base"}
    assert rows(cli("status", "-l", "team=vision").out).keys() == {"fine"}
    assert rows(cli("status", "-l", "team=speech").out) == {}
    assert rows(cli("status", "-l", "team=vision,team=vision").out).keys() == {"fine"}
    assert rows(cli("status", "-l", "team=vision,other=").out) == {}
    missing = cli("status", "nobody", code=1)
    assert "no object is called nobody" in missing.err


def test_labels_that_a_shallow_clone_cannot_tell_are_not_passed_over(
    synced: Site, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = ("--depth=1", "--branch=reconciler/status/local")
    git(tmp_path, "clone", "--quiet", *elsewhere, synced.remote.as_uri(), "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    assert cli("status").err == ""
    said = cli("status", "-l", "team=vision")
    assert rows(said.out) == {}
    assert "the labels of 3 objects are not known" in said.err


def test_history_shows_params_metrics_and_failures(at: Site, cli: Cli) -> None:
    out = cli("status", "--history").out
    (line,) = [line for line in out.splitlines() if line.startswith("base") and "train" in line]
    assert "current" in line
    assert "accuracy 0.97, loss 0.1" in line
    assert "epochs=3" in line
    (line,) = [line for line in out.splitlines() if line.startswith("fine") and "train" in line]
    assert 'voice="zoë\\u202e"' in line
    (line,) = [line for line in out.splitlines() if line.startswith("fails") and "train" in line]
    assert "Failed" in line
    assert "out of luck" in line


def test_status_as_json_is_the_files_of_the_branch(at: Site, cli: Cli) -> None:
    documents = json.loads(cli("status", "--format", "json").out)
    assert [d["metadata"]["name"] for d in documents] == ["base", "fails", "fine"]
    base = documents[0]
    assert base["apiVersion"] == "substratus.ai/v1"
    assert base["status"]["artifact"]["metrics"] == {"accuracy": 0.97, "loss": 0.1}
    assert base["status"] == at.statuses()["base"]


@contextmanager
def on_a_terminal(command: list[str], columns: int = 120) -> Iterator[Any]:
    """A command at whose end all must be well."""
    shell = {"TERM": "xterm", "COLUMNS": str(columns)}
    program = pexpect.spawn(
        command[0],
        command[1:],
        env={**environment(), **shell},
        timeout=PATIENCE,
        dimensions=(40, columns),
    )
    yield program
    program.expect(pexpect.EOF)
    program.close()
    assert program.exitstatus == 0


def test_watch_keeps_looking_until_ctrl_c(at: Site) -> None:
    with on_a_terminal(at.command("status", "--watch")) as watch:
        watch.expect("base .*Ready")
        watch.sendintr()


def test_watch_as_json_is_a_line_at_each_change(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.trained("a", TRAIN)
    site.sync()
    with subprocess.Popen(
        site.command("status", "--watch", "--format", "json"),
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as watch:
        assert watch.stdout is not None
        first = json.loads(watch.stdout.readline())
        site.remove("a.yaml")
        site.scratch("b")
        site.sync()
        second = json.loads(watch.stdout.readline())
        watch.send_signal(signal.SIGINT)
        watch.stdout.read()
    names = [{each["metadata"]["name"] for each in looked} for looked in (first, second)]
    assert names == [{"a"}, {"b"}]
    assert watch.returncode == 0


def test_watch_into_a_pipe_prints_the_table_at_once(at: Site) -> None:
    with subprocess.Popen(
        at.command("status", "--watch"), stdout=subprocess.PIPE, env=environment(), text=True
    ) as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().startswith("KIND")
        watch.send_signal(signal.SIGINT)
        watch.stdout.read()
    assert watch.returncode == 0


def test_watch_goes_on_where_the_remote_is_away_for_a_moment(at: Site) -> None:
    away = at.root / "away.git"
    # Of a line that is wrapped nobody knows where.
    with on_a_terminal(at.command("status", "--watch"), columns=500) as watch:
        watch.expect("base .*Ready")
        at.remote.rename(away)
        try:
            watch.expect("is not in a Git repository")
            watch.expect("base .*Ready")
        finally:
            away.rename(at.remote)
        watch.sendintr()


def test_run_once_shows_the_objects_live_on_a_terminal(tmp_path: Path) -> None:
    site = Site(tmp_path)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    site.trained("a", f'read -r _ < "{gate}"\necho w > "$MODEL_DIR/w"\n')
    site.push()
    with on_a_terminal(site.command("run", "--once")) as run:
        run.expect("a .*Training")
        gate.write_text("go\n")
        run.expect("a .*Ready")


# -- plan ------------------------------------------------------------------------------------


@pytest.fixture
def changed(at: Site) -> Site:
    """A commit that changes the base's epochs, mends nothing, and adds a Model with an error."""
    git(at.work, "checkout", "--quiet", "-B", "change", "origin/main")
    at.edit("base.yaml", '{"epochs": 3}', '{"epochs": 5}')
    at.write(
        "wrong.yaml",
        "kind: Model\nmetadata: {name: wrong}\nspec: {suspended: 1, source: {git: {url: ../x}}}\n",
    )
    git(at.work, "add", "--all")
    git(at.work, "commit", "--quiet", "--message", "Longer")
    return at


def test_a_plan_says_what_changes_and_why(changed: Site, cli: Cli) -> None:
    said = cli("plan", "--base", "origin/main", "--head", "HEAD", code=1)
    assert "wrong.yaml:3:8: error: spec.suspended: " in said.out
    blocks = {block.split()[1]: block for block in said.out.split("\n\n") if "default/" in block}
    assert "training.params.epochs: 3 → 5\n  ~ train runs again" in blocks["default/base"]
    because = "because Model default/base changes (training.params.epochs: 3 → 5)"
    assert because in blocks["default/fine"]
    assert "after Model default/base" in blocks["default/fine"]
    assert "default/fails" not in blocks, "a remembered failure costs nothing"


def test_a_plan_of_nothing_ends_with_0(at: Site, cli: Cli) -> None:
    said = cli("plan", "--base", "origin/main", "--head", "origin/main", code=0)
    assert said.out == (
        "Plan: This change makes nothing run.\n"
        "4 tasks unchanged; with or without this change: 1 waiting (--all lists them).\n"
        f"The status used is of {AGE.search(said.out)[0]}.\n"  # type: ignore[index]
    )
    listed = cli("plan", "--base", "origin/main", "--head", "origin/main", "--all").out
    assert "… train waits: " in listed
    assert "[Model default/fails]" in listed


def test_a_plan_without_a_status_branch_makes_everything(
    at: Site, cli: Cli, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "--quiet", "--single-branch", str(at.remote), "clone")
    said = cli(
        "plan", "--base", "HEAD", "--head", "HEAD", "--repo", str(tmp_path / "clone"),
        "--format", "json",
    )  # fmt: skip
    assert said.code == 2
    assert "this clone has no branch reconciler/status/local, so nothing counts as made" in said.err
    document = json.loads(said.out)
    assert {a["action"] for a in document["actions"]} == {"create"}
    assert document["summary"]["create"] == 5
    text = cli(
        "plan", "--base", "HEAD", "--head", "HEAD", "--repo", str(tmp_path / "clone"), code=2
    ).out
    assert "beyond what a first sync does: nothing was synced yet, so that runs 5 tasks." in text


def test_a_plan_as_json_has_the_promised_members(changed: Site, cli: Cli) -> None:
    document = json.loads(
        cli("plan", "--base", "origin/main", "--head", "HEAD", "--format", "json").out
    )
    assert set(document) == {"base", "head", "actions", "errors", "summary"}
    for action in document["actions"]:
        assert set(action) == {
            "action", "task", "forEvaluation", "kind", "namespace", "name", "key", "reason",
            "message", "file", "line", "gpus", "needs", "forecast", "variant",
        }  # fmt: skip
    by = {(a["name"], a["task"]): a for a in document["actions"]}
    assert by["base", "train"]["action"] == "create"
    assert by["base", "build"]["action"] == "keep"
    assert by["fine", "train"]["needs"] == [by["base", "train"]["key"]]
    assert by["wrong", None]["action"] == "refuse"
    assert by["wrong", None]["line"] == 3
    (error,) = document["errors"]
    assert set(error) == {"file", "line", "column", "field", "message"}


def test_a_plan_as_markdown_quotes_what_people_wrote(changed: Site, cli: Cli) -> None:
    out = cli("plan", "--base", "origin/main", "--head", "HEAD", "--format", "markdown").out
    assert "- **Model** `default/base` in `base.yaml:" in out
    assert "  - `training.params.epochs`: `3` → `5`\n" in out
    assert "```mermaid\n" in out


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_a_plan_says_how_old_its_status_is(at: Site, cli: Cli, style: str) -> None:
    said = cli("plan", "--base", "origin/main", "--head", "origin/main", "--format", style)
    assert AGE.search(said.out)
    assert "Not known" not in said.out


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_a_plan_says_what_it_could_not_know(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "clone")
    source = "source: {git: {url: 'https://git.example.com/a'}}"
    text = f"kind: Model\nmetadata: {{name: a}}\nspec: {{{source}}}\n"
    (tmp_path / "clone" / "a.yaml").write_text(text)
    git(tmp_path / "clone", "add", "--all")
    git(tmp_path / "clone", "commit", "--quiet", "--message", "A")
    monkeypatch.chdir(tmp_path / "clone")
    said = cli("plan", "--base", "HEAD", "--head", "HEAD", "--format", style)
    _, _, unknown = said.out.partition("Not known")
    assert "no status branch here, so nothing counts as made" in unknown
    assert "what runs for Model default/a" in unknown.replace("\\", "")


def test_a_revision_that_is_not_there_is_one_clear_line(at: Site, cli: Cli) -> None:
    said = cli("plan", "--base", "HEAD", "--head", "nowhere", code=1)
    assert "there is no commit nowhere" in said.err
    assert said.err.count("\n") == 1


def test_why_reads_the_configured_repository_wherever_it_is_called(
    at: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(at.root)
    said = cli("why", "fails", code=0)
    assert "Model default/fails is Failed as of the last sync: " in said.out
    assert "out of luck" in said.out


@pytest.fixture
def far(synced: Site, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a configuration of a remote that is not on this disk."""
    with closing(HttpRemote(synced.root)) as remote:
        config = {
            "repository": {"url": remote.url("manifests.git")},
            "sources": {"allow": ["http://*"]},
        }
        (tmp_path / "reconciler.yaml").write_text(json.dumps(config))
        monkeypatch.setenv("RECONCILER_CONFIG", str(tmp_path / "reconciler.yaml"))
        yield tmp_path


FAILED = (
    "Model default/fails is Failed as of the last sync: "
    "train: train.sh ended with exit code 3: out of luck\n"
    "  build: complete\n"
    "  train: failed, and is not run again: train.sh ended with exit code 3"
)


def test_why_outside_a_clone_reads_the_remote_as_status_does(far: Path, cli: Cli) -> None:
    assert cli("why", "fails", code=0).out.startswith(FAILED)


def test_why_in_a_clone_of_the_branch_alone_reads_the_status_of_the_remote(
    synced: Site, far: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(far, "clone", "--quiet", "--single-branch", str(synced.remote), "clone")
    monkeypatch.chdir(far / "clone")
    for more in ((), ("--head", "HEAD"), ("--repo", ".")):
        said = cli("why", "fails", *more, code=0)
        assert said.out.startswith(FAILED)
        assert said.err == ""


@pytest.mark.parametrize("remote", ["near", "far"])
def test_why_on_a_branch_that_is_not_followed_is_of_the_branch_that_is(
    synced: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    request: pytest.FixtureRequest, remote: str,
) -> None:  # fmt: skip
    config = synced.root if remote == "near" else request.getfixturevalue("far")
    monkeypatch.setenv("RECONCILER_CONFIG", str(config / "reconciler.yaml"))
    git(tmp_path, "clone", "--quiet", str(synced.remote), "clone")
    clone = tmp_path / "clone"
    git(clone, "checkout", "--quiet", "-b", "other")
    git(clone, "rm", "--quiet", "fails.yaml")
    git(clone, "commit", "--quiet", "--message", "Without it")
    monkeypatch.chdir(clone)
    assert cli("why", "fails", code=0).out.startswith(FAILED)
    there = cli("why", "fails", "--head", "HEAD", "--repo", ".", code=0).out
    assert "Its manifest is gone: the next sync removes it." in there


def test_nothing_is_committed_to_a_clone_of_another_repository(
    at: Site, cli: Cli, tmp_path: Path
) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "other")
    other = tmp_path / "other"
    (other / "base.yaml").write_text((at.work / "base.yaml").read_text())
    git(other, "add", ".")
    git(other, "commit", "--quiet", "--message", "The same manifest")
    for command in ("suspend", "resume", "retry"):
        said = cli(command, "base", "--repo", str(other), code=1)
        assert f"{other} is no clone of repository.url, {at.remote}" in said.err
    assert git(other, "rev-list", "--count", "HEAD").strip() == "1"
    assert "+  suspend: true" in cli("suspend", "base", "--dry-run", code=0).out


def test_a_linked_worktree_is_a_clone_of_its_repository(at: Site, cli: Cli, tmp_path: Path) -> None:
    git(at.remote, "worktree", "add", "--quiet", str(tmp_path / "linked"), "main")
    try:
        said = cli("suspend", "base", "--dry-run", "--repo", str(tmp_path / "linked"), code=0)
        assert "+  suspend: true" in said.out
    finally:
        git(at.remote, "worktree", "remove", "--force", str(tmp_path / "linked"))
