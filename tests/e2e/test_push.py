"""From push to status commit: what runs, and what does not run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.engines.local.fsync import remove_tree
from tests.e2e.saved_site import SavedSite
from tests.e2e.site import BRANCH, Site, git, until

TRAIN = """\
cat "${BASE_MODEL_DIR:-none}/weights" > "$MODEL_DIR/weights" 2>/dev/null || : > "$MODEL_DIR/weights"
cat "$PARAMS_FILE" >> "$MODEL_DIR/weights"
echo '{"accuracy": 0.5}' > "$MODEL_DIR/metrics.json"
"""


def family(site: Site) -> None:
    """A base, two Models off it, and one off one of those."""
    site.trained("base", TRAIN, params={"epochs": 3})
    site.finetune("left", "base", params={"epochs": 1})
    site.finetune("right", "base", params={"epochs": 1})
    site.finetune("leaf", "left", params={"epochs": 1})
    site.push()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SavedSite:
    """The family, pushed and synced."""
    site = Site(tmp_path_factory.mktemp("site"))
    family(site)
    assert site.run_once().returncode == 0
    return SavedSite.of(site)


@pytest.fixture
def synced(made: SavedSite) -> Site:
    return made.restored()


def test_a_push_becomes_artifacts_and_a_status_commit(synced: Site) -> None:
    site = synced
    assert site.ran() == {"base": 1, "left": 1, "right": 1, "leaf": 1}
    status = site.statuses()["leaf"]
    assert status["phase"] == "Ready"
    assert status["artifact"]["metrics"] == {"accuracy": 0.5}
    artifact = site.artifact("leaf")
    assert (artifact / "completed.json").is_file()
    assert (artifact / "logs" / "attempt-1.log").is_file()
    assert status["artifact"]["url"].endswith(
        f"clusters/local/namespaces/default/models/leaf/{status['artifact']['key']}/"
    )
    assert "4 Ready" in site.show("README.md")
    assert "[skip ci]" in git(site.remote, "log", "-1", "--format=%s", BRANCH)
    assert git(site.remote, "merge-base", BRANCH, "main", quiet=True) == "", "an orphan branch"


def test_nothing_changed_means_no_run_and_no_commit(synced: Site) -> None:
    site = synced
    site.ran()
    tip = git(site.remote, "rev-parse", BRANCH)
    assert site.run_once().returncode == 0
    assert site.ran() == {}
    assert git(site.remote, "rev-parse", BRANCH) == tip


def test_one_param_retrains_that_model_and_what_depends_on_it_and_a_revert_nothing(
    synced: Site,
) -> None:
    site = synced
    site.ran()
    before = site.statuses()

    site.finetune("left", "base", params={"epochs": 2})
    site.sync("More epochs")
    assert site.ran() == {"left": 1, "leaf": 1}
    assert site.statuses()["right"] == before["right"]

    git(site.work, "revert", "--no-edit", "HEAD")
    git(site.work, "push", "--quiet", "origin", "main")
    site.run_once()
    assert site.ran() == {}
    after = site.statuses()
    assert {name: s["artifact"] for name, s in after.items()} == {
        name: s["artifact"] for name, s in before.items()
    }
    assert set(site.phases().values()) == {"Ready"}


def test_a_removed_manifest_takes_its_runs_and_status_file_and_leaves_its_artifacts(
    synced: Site,
) -> None:
    site = synced
    artifact = site.artifact("right")
    site.remove("right.yaml")
    assert site.sync().returncode == 0
    assert "right" not in site.phases()
    assert "phase: Ready" in site.show("removed/default/models/right.yaml")
    assert (artifact / "completed.json").is_file()
    assert not list((site.root / "state" / "runs").glob("r-right-*"))

    site.ran()
    site.finetune("right", "base", params={"epochs": 1})
    site.sync()
    assert site.ran() == {}, "its history came back with it"
    assert site.phases()["right"] == "Ready"


def test_of_ten_models_in_folders_a_commit_to_one_rebuilds_that_one(site: Site) -> None:
    names = [f"m{number}" for number in range(10)]
    for name in names:
        site.trained(name, f"echo {name} > $MODEL_DIR/weights\n")
    assert site.sync().returncode == 0
    assert site.ran() == dict.fromkeys(names, 1)
    before = site.statuses()
    site.script("src/m7/train.sh", "echo better > $MODEL_DIR/weights\n")
    site.sync()
    assert site.ran() == {"m7": 1}
    after = site.statuses()
    assert {name for name in names if before[name] != after[name]} == {"m7"}


@pytest.mark.parametrize("touched", ["a", "b"])
def test_manifests_run_on_the_code_that_was_pushed_before_them(site: Site, touched: str) -> None:
    site.configure(sources={"interval": "1h"})
    other = site.root / "source"
    git(site.root, "init", "--quiet", "--initial-branch=main", str(other))

    def commit(word: str) -> None:
        file = other / "train.sh"
        file.write_text(f"#!/bin/sh\necho {word} > $MODEL_DIR/weights\n")
        file.chmod(0o755)
        git(other, "add", "--all")
        git(other, "commit", "--quiet", "--message", word)

    def manifests(epochs: int) -> None:
        params = {name: epochs if name == touched else 1 for name in ("a", "b")}
        site.write(
            "a.yaml",
            "kind: Model\nmetadata: {name: a}\nspec:\n"
            "  source: {git: {url: ../source, update: Follow}}\n"
            f"  training: {{mode: Scratch, params: {{epochs: {params['a']}}}}}\n",
        )
        site.finetune("b", "a", params={"epochs": params["b"]})
        site.push()

    def weights(name: str) -> str:
        return (site.artifact(name) / "weights").read_text()

    commit("first")
    manifests(1)
    with site.running():
        until(lambda: site.phases() == {"a": "Ready", "b": "Ready"}, what="both to be Ready")
        commit("second")
        manifests(2)
        until(lambda: weights("b") == "second\n", what="b to be made of the new code")
        assert weights("a") == "second\n"
        assert site.log().count('"event": "run created"') == 6, "nothing ran on the old code again"


def test_a_source_in_another_repository_is_pinned_until_it_is_asked_to_move(site: Site) -> None:
    other = site.root / "source"
    git(site.root, "init", "--quiet", "--initial-branch=main", str(other))

    def commit(word: str) -> None:
        (other / "train.sh").write_text(
            '#!/bin/sh\necho "$SITE_NAME 1 -" >> "$SITE_LEDGER"\n'
            f"echo {word} > $MODEL_DIR/weights\n"
        )
        (other / "train.sh").chmod(0o755)
        git(other, "add", "--all")
        git(other, "commit", "--quiet", "--message", word)

    def manifest(update: str) -> None:
        site.write(
            "a.yaml",
            "kind: Model\n"
            f"metadata: {{name: a, annotations: {{substratus.ai/update: '{update}'}}}}\n"
            "spec:\n  source: {git: {url: ../source}}\n"
            f"  training: {{mode: Scratch, env: {site.env('a')}}}\n",
        )
        site.push()

    commit("first")
    manifest("1")
    site.run_once()
    commit("second")
    site.run_once()
    assert site.ran() == {"a": 1}
    conditions = {c["type"] for c in site.statuses()["a"]["conditions"]}
    assert "UpdateAvailable" in conditions
    manifest("2")
    site.run_once()
    assert site.ran() == {"a": 1}
    assert (site.artifact("a") / "weights").read_text() == "second\n"


def test_a_source_in_this_repository_comes_with_its_submodules(site: Site, tmp_path: Path) -> None:
    library = tmp_path / "library.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(library))
    git(tmp_path, "clone", "--quiet", str(library), "writing", quiet=True)
    (tmp_path / "writing" / "weights").write_text("shared\n")
    git(tmp_path / "writing", "add", "--all")
    git(tmp_path / "writing", "commit", "--quiet", "--message", "Weights")
    git(tmp_path / "writing", "push", "--quiet", "origin", "HEAD:main")

    site.script("src/base/train.sh", 'cat lib/weights > "$MODEL_DIR/weights"\n')
    git(site.work, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add",
        "../library.git", "src/base/lib")  # fmt: skip
    site.scratch("base")
    site.edit("base.yaml", "path: src/base", "path: src/base, submodules: true")
    site.sync()
    status = site.statuses()["base"]
    assert status["phase"] == "Ready", status
    assert (site.artifact("base") / "weights").read_text() == "shared\n"


@pytest.mark.parametrize("lost", ["state", "state/images", "state/envs"])
def test_an_image_that_is_lost_with_the_local_root_is_built_again(site: Site, lost: str) -> None:
    site.configure(buckets={"default": {"url": (site.root / "bucket").as_uri()}})
    site.script("src/a/train.sh", TRAIN)
    site.write("src/a/requirements.txt", "# none\n")
    site.scratch("a")
    assert site.sync().returncode == 0
    remove_tree(site.root / lost)
    assert site.run_once().returncode == 0
    assert site.ran() == {"a": 1}, "what is finished needs no image"
    site.scratch("a", params={"epochs": 1})
    done = site.sync()
    assert (done.returncode, site.phases()) == (0, {"a": "Ready"}), done.stderr
    assert site.ran() == {"a": 1}


def test_what_others_put_on_the_status_branch_is_left_alone(site: Site, tmp_path: Path) -> None:
    site.trained("a", TRAIN)
    site.sync()
    clone = tmp_path / "status"
    git(site.root, "clone", "--quiet", f"--branch={BRANCH}", str(site.remote), str(clone))
    (clone / ".forge").mkdir()
    (clone / ".forge" / "pipeline.yaml").write_text("jobs: []\n")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "A pipeline")
    git(clone, "push", "--quiet")
    tip = git(clone, "rev-parse", "HEAD")
    done = site.run_once()
    assert done.returncode == 0, done.stderr
    assert git(site.remote, "rev-parse", BRANCH) == tip, "nothing has changed"
    assert site.ran() == {"a": 1}


def test_an_object_of_a_namespace_called_removed_is_not_taken_for_one_that_is_gone(
    site: Site,
) -> None:
    for name in ("a", "b"):
        site.trained(name, TRAIN)
        site.edit(f"{name}.yaml", f"{{name: {name}}}", f"{{name: {name}, namespace: removed}}")
    site.sync()
    site.remove("a.yaml")
    assert site.sync().returncode == 0
    files = git(site.remote, "ls-tree", "-r", "--name-only", BRANCH, "removed").split()
    assert files == ["removed/models/b.yaml", "removed/removed/models/a.yaml"]
    assert "phase: Ready" in site.show("removed/removed/models/a.yaml")


def test_a_lost_status_branch_and_lost_engine_state_repeat_nothing(synced: Site) -> None:
    site = synced
    before = site.statuses()
    git(site.remote, "update-ref", "-d", f"refs/heads/{BRANCH}")
    for run in (site.root / "state" / "runs").iterdir():
        run.rename(site.root / run.name)
    site.ran()
    assert site.run_once().returncode == 0
    assert site.ran() == {}
    after = site.statuses()
    assert {n: s["artifact"] for n, s in after.items()} == {
        n: s["artifact"] for n, s in before.items()
    }
