"""``reconciler validate``: as a person, an editor or a CI system calls it."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pygit2
import pytest

from tests.cli.conftest import Cli

GOOD = "kind: Dataset\nmetadata: {name: squad}\nspec: {source: {bucket: {url: s3://data/squad}}}\n"
USES = (
    "kind: Model\nmetadata: {name: m}\nspec:\n  source: {git: {url: https://example.com/m}}\n"
    "  training: {dataset: {name: squad}}\n"
)


def test_a_folder_is_checked_as_a_whole(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "squad.yaml").write_text(GOOD)
    (tmp_path / "m.yaml").write_text(USES)
    (tmp_path / "ci.yaml").write_text("on: push\n")
    said = cli("validate")
    assert (said.code, said.out) == (0, "2 manifests in 2 files are valid, 1 other file ignored\n")


def test_all_errors_are_told_at_once_with_file_line_column_and_field(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(GOOD.replace("Dataset", "Dateset"))
    (tmp_path / "b.yaml").write_text(USES.replace("training", "trainin"))
    (tmp_path / "c.yaml").write_text("kind: Model\n  metadata: {}\n")
    said = cli("validate", code=2)
    lines = said.out.splitlines()
    assert lines[0].startswith(
        'a.yaml:1:1: error: kind: expected Model or Dataset, found "Dateset"'
    )
    assert lines[1].startswith("b.yaml:5:3: error: spec.trainin: ")
    assert lines[2].startswith("c.yaml:2:")
    assert lines[-1].endswith("3 errors")


def test_single_files_may_refer_to_what_is_not_among_them(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(USES)
    cli("validate", "m.yaml", code=0)
    said = cli("validate", ".", code=2)
    assert "there is no Dataset default/squad" in said.out


def repository(folder: Path) -> None:
    """A Git repository with a dataset in data/, and what uses it in models/."""
    pygit2.init_repository(folder)
    for name, text in (("data/squad.yaml", GOOD), ("models/m.yaml", USES)):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)


def test_references_of_a_folder_are_looked_up_in_its_whole_repository(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path)
    (tmp_path / "data/wrong.yaml").write_text("kind: Model\n")
    assert cli("validate", "models", code=0).out == "1 manifest in 1 file is valid\n"
    (tmp_path / "models/other.yaml").write_text(USES.replace("squad", "squat").replace("m}", "o}"))
    said = cli("validate", "models", code=2)
    assert said.out == (
        "models/other.yaml:5:24: error: spec.training.dataset.name: there is no Dataset "
        'default/squat; did you mean "squad"?\n'
        "2 manifests in 2 files; 1 error\n"
    )
    monkeypatch.chdir(tmp_path / "models")
    assert cli("validate", code=2).out == said.out.replace("models/", "")
    monkeypatch.chdir("/")
    assert cli("validate", str(tmp_path / "models"), code=2).out.count("error: ") == 1


def test_an_object_of_a_folder_that_another_folder_defines_too_is_an_error(
    cli: Cli, tmp_path: Path
) -> None:
    repository(tmp_path)
    for name in ("a", "models"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "squad.yaml").write_text(GOOD)
        said = cli("validate", name, code=2)
        assert "error: metadata.name: Dataset default/squad is defined already, in" in said.out
        (tmp_path / name / "squad.yaml").unlink()


def test_references_of_a_folder_are_those_of_repository_path(cli: Cli, tmp_path: Path) -> None:
    pygit2.init_repository(tmp_path)
    repository(tmp_path / "prod")
    shutil.rmtree(tmp_path / "prod/.git")
    (tmp_path / "reconciler.yaml").write_text("repository: {url: ., path: prod}\n")
    for folder in ("staging", "prod/drafts"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.yaml").write_text(USES.replace("{name: m}", "{name: m2}"))
    cli("validate", "prod/models", code=0)
    cli("validate", "prod/drafts", code=0)
    assert "there is no Dataset default/squad" in cli("validate", "staging", code=2).out


def test_of_a_folder_in_no_repository_it_is_told_what_is_not_checked(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/m.yaml").write_text(USES)
    said = cli("validate", "models", code=0)
    assert said.err == (
        "Note: models is in no Git repository, so references to objects that are not among these "
        "files are not checked.\n"
    )


def test_the_ignore_file_of_all_manifests_counts_for_a_folder_of_them(
    cli: Cli, tmp_path: Path
) -> None:
    repository(tmp_path)
    (tmp_path / ".reconcilerignore").write_text("models/drafts/\n")
    (tmp_path / "models/drafts").mkdir()
    (tmp_path / "models/drafts/d.yaml").write_text("kind: Model\n")
    cli("validate", "models", code=0)
    assert "d.yaml:1:1" in cli("validate", "models/drafts", code=2).out


def test_a_file_that_is_named_twice_is_read_once(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "squad.yaml").write_text(GOOD)
    for paths in (("data", "data/squad.yaml"), ("data/squad.yaml", "./data/../data/squad.yaml")):
        assert cli("validate", *paths).out == "1 manifest in 1 file is valid\n"


def test_standard_input_is_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("squad}", "Squad}")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    said = cli("validate", "-", code=2)
    assert said.out.startswith("<stdin>:2:12: error: metadata.name: ")


def test_json_has_the_place_of_each_error(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(USES.replace("https://example.com/m", "3"))
    said = cli("validate", "--format", "json", "m.yaml", code=2)
    (error,) = json.loads(said.out)["errors"]
    assert {**error, "message": ""} == {
        "file": "m.yaml",
        "line": 4,
        "column": 18,
        "field": "spec.source.git.url",
        "message": "",
    }


def test_ignored_files_hidden_folders_and_links_are_not_read(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".reconcilerignore").write_text("drafts/\n*.tmp.yaml\n")
    for path in ("drafts/a.yaml", "b.tmp.yaml", ".git/c.yaml"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("kind: Model\n")
    (tmp_path / "squad.yaml").write_text(GOOD)
    (tmp_path / "link.yaml").symlink_to(tmp_path / "b.tmp.yaml")
    said = cli("validate")
    assert (said.code, said.out) == (0, "1 manifest in 1 file is valid\n")


def test_an_ignore_file_that_is_not_used_as_a_whole_is_an_error(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".reconcilerignore").write_text("drafts/\n" * 1001)
    (tmp_path / "squad.yaml").write_text(GOOD)
    said = cli("validate")
    assert said.code == 2
    assert ".reconcilerignore: error: the file has more than 1,000 patterns" in said.out


def test_of_a_folder_only_what_a_commit_would_have_is_read(cli: Cli, tmp_path: Path) -> None:
    """A daemon's state has copies of sources, and files of artifacts that are no YAML."""
    pygit2.init_repository(tmp_path)
    pygit2.init_repository(tmp_path / "sources" / "other")
    (tmp_path / ".gitignore").write_text("/build/\n*.local.yaml\n")
    (tmp_path / "reconciler.yaml").write_text("repository: {url: .}\n")
    for path in ("build/a.yaml", "b.local.yaml", "sources/other/c.yaml", "state/d.yaml"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("kind: Model\n")
    os.mkfifo(tmp_path / "e.yaml")
    (tmp_path / "squad.yaml").write_text(GOOD)
    said = cli("validate")
    assert (said.code, said.out) == (0, "1 manifest in 1 file is valid, 1 other file ignored\n")


def test_what_is_asked_for_by_name_or_in_the_index_is_read_though_git_ignores_it(
    cli: Cli, tmp_path: Path
) -> None:
    repository = pygit2.init_repository(tmp_path)
    for path in ("added/a.yaml", "build/b.yaml"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text("kind: Model\n")
    repository.index.add("added/a.yaml")
    repository.index.write()
    (tmp_path / ".gitignore").write_text("*/\n")
    said = cli("validate")
    assert said.out.startswith("added/a.yaml:1:1: error: ")
    assert "build" not in said.out
    assert cli("validate", "build").out.startswith("build/b.yaml:1:1: error: ")


def test_a_folder_that_has_a_repository_and_is_in_none_is_read(cli: Cli, tmp_path: Path) -> None:
    pygit2.init_repository(tmp_path / "clone")
    (tmp_path / "clone" / "squad.yaml").write_text(GOOD)
    assert cli("validate").out == "1 manifest in 1 file is valid\n"


def test_the_configured_path_is_what_is_read(cli: Cli, tmp_path: Path) -> None:
    """What is beside it is another cluster's, whose objects may be called the same."""
    (tmp_path / "reconciler.yaml").write_text("repository: {url: ., path: prod}\n")
    for cluster in ("prod", "staging"):
        (tmp_path / cluster).mkdir()
        (tmp_path / cluster / "squad.yaml").write_text(GOOD)
    assert cli("validate").out == "1 manifest in 1 file of prod is valid\n"
    assert "is defined already" in cli("validate", ".").out


def test_the_configured_namespace_is_the_default(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").write_text(
        "repository: {url: .}\nkubernetes: {namespace: team}\n"
    )
    (tmp_path / "m.yaml").write_text(USES.replace("squad", "squad, namespace: team"))
    (tmp_path / "d.yaml").write_text(GOOD)
    cli("validate", code=0)


REFUSED = {
    "kind: Model\nmetadata: {name: m}\nspec:\n"
    "  source: {git: {url: https://example.com/m}}\n  training: {profile: spto}\n": (
        "m.yaml:5:14: error: spec.training.profile: "
    ),
    USES.replace("dataset: {name: squad}", "resources: {gpu: {type: l5}}"): (
        "m.yaml:5:32: error: spec.training.resources.gpu.type: "
    ),
    USES.replace("dataset: {name: squad}", "secretEnv: {A: {name: registry, key: b}}"): (
        "m.yaml:5:30: error: spec.training.secretEnv.A.name: "
    ),
    USES.replace("https://example.com/m", "https://evil.test/m"): (
        "m.yaml:4:18: error: spec.source.git.url: "
    ),
    USES.replace("https://example.com/m", "../../../../m"): (
        "m.yaml:4:18: error: spec.source.git.url: ../../../../m leads out of "
    ),
}


@pytest.mark.parametrize(("text", "error"), REFUSED.items())
def test_what_the_configuration_does_not_admit_is_an_error(
    cli: Cli, tmp_path: Path, text: str, error: str
) -> None:
    config = {
        "repository": {"url": "https://example.com/team/models"},
        "engine": "kubernetes",
        "registry": {"url": "registry.example.com/models", "secret": "registry"},
        "buckets": {"default": {"url": "gs://models"}},
        "sources": {"allow": ["https://example.com/*"]},
        "kubernetes": {"profiles": {"spot": {}}, "gpus": {"l4": {}}},
    }
    (tmp_path / "reconciler.yaml").write_text(json.dumps(config))
    (tmp_path / "m.yaml").write_text(text)
    (tmp_path / "d.yaml").write_text(GOOD)
    said = cli("validate")
    assert said.code == 2
    assert said.out.startswith(error)
    assert said.out.endswith("1 error\n")


def test_a_manifest_is_held_to_its_tenant_by_its_real_path(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pygit2.init_repository(str(tmp_path))
    tenants = [
        {"name": name, "paths": [f"{name}/**"], "namespaces": [name], "buckets": [f"s3://{name}/*"]}
        for name in ("vision", "mallory")
    ]
    config = {"repository": {"url": "https://git.test/m", "path": "prod"}, "tenants": tenants}
    (tmp_path / "reconciler.yaml").write_text(json.dumps(config))
    for name in ("vision", "mallory"):
        folder = tmp_path / "prod" / name
        folder.mkdir(parents=True)
        text = GOOD.replace("name: squad", f"name: squad, namespace: {name}")
        (folder / "squad.yaml").write_text(text.replace("s3://data", f"s3://{name}"))
    assert cli("validate", code=0).out == "2 manifests in 2 files of prod are valid\n"
    text = GOOD.replace("name: squad", "name: squad, namespace: vision")
    (tmp_path / "prod/mallory/x.yaml").write_text(text)
    (tmp_path / "prod/vision/x.yaml").symlink_to("../mallory/x.yaml")
    for path in ("prod/mallory/x.yaml", "prod/vision/../mallory/x.yaml", "prod/vision/x.yaml"):
        said = cli("validate", path, code=2)
        assert said.out.startswith(f"{path}:2:25: error: metadata.namespace: ")
        assert 'namespace "vision" is not one of tenant mallory: mallory' in said.out
    cli("validate", code=2)
    monkeypatch.chdir(tmp_path / "prod/mallory")
    said = cli("validate", "--config", "../../reconciler.yaml", "x.yaml", code=2)
    assert "metadata.namespace" in said.out
