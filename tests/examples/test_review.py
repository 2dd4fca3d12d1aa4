"""What examples-repo gives a team for review, run as its forge would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests import processes
from tests.cli.example import Example
from tests.e2e.site import environment
from tests.examples.manifests import EXAMPLES

ROOT = EXAMPLES.parent


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


@pytest.fixture
def clone(tmp_path: Path) -> Example:
    """A clone of a forge's repository, with a change merged into its base."""
    example = Example(tmp_path / "forge")
    (example.root / "reconciler.yaml").write_bytes((EXAMPLES / "reconciler.yaml").read_bytes())
    example.commit("Configure")
    example.sync()
    example.git("checkout", "--quiet", "-b", "change")
    example.edit("models/finetune.yaml", "epochs: 5,", "epochs: 20,")
    # Nobody may be made to read a configuration that has not been reviewed.
    (example.root / "reconciler.yaml").write_text("nonsense: true\n")
    example.commit("Longer")
    example.git("checkout", "--quiet", "main")
    example.git("merge", "--quiet", "--no-ff", "--message", "Merge", "change")
    example.git("clone", "--quiet", str(example.root), str(tmp_path / "clone"))
    example.root = tmp_path / "clone"
    return example


def run(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return processes.run(
        ["sh", "-e", "-c", script], cwd=folder, env={**environment(), "PATH": path, **variables}
    )


def test_the_github_workflow_writes_the_plan_into_the_summary(
    clone: Example, tmp_path: Path
) -> None:
    steps = load(EXAMPLES / ".github" / "workflows" / "plan.yml")["jobs"]["plan"]["steps"]
    named = {step["name"]: step["run"] for step in steps if "name" in step}
    # Nothing of the pull request's own configuration is read, not even by validate.
    assert list(named) == ["configuration of the base", "reconciler validate", "reconciler plan"]
    summary = tmp_path / "summary"
    done = run(
        "\n".join(named.values()),
        clone.root,
        GITHUB_STEP_SUMMARY=str(summary),
        GITHUB_ACTIONS="true",
    )
    assert done.returncode == 0, done.stderr
    assert "`training.params.epochs`: `5` → `20`" in summary.read_text()
    assert "1 training runs again" in summary.read_text()


def test_the_gitlab_pipeline_keeps_the_plan(clone: Example) -> None:
    job: Mapping[str, Any] = load(EXAMPLES / ".gitlab-ci.yml")["plan"]
    script = "\n".join([*job["before_script"][1:], *job["script"]])
    variables = {
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": clone.git("rev-parse", "HEAD^1"),
        "CI_COMMIT_SHA": clone.git("rev-parse", "HEAD"),
    }
    done = run(script, clone.root, **variables)
    assert done.returncode == 0, done.stderr
    (kept,) = job["artifacts"]["paths"]
    assert "1 training runs again" in (clone.root / kept).read_text()
    assert "1 training runs again" in done.stdout


def test_the_hooks_check_all_manifests_together(clone: Example) -> None:
    (published,) = load(ROOT / ".pre-commit-hooks.yaml")
    (own,) = load(EXAMPLES / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    clone.git("checkout", "--quiet", "HEAD^1", "--", "reconciler.yaml")
    for hook in (published, own):
        assert hook["id"] == "reconciler-validate"
        assert hook["pass_filenames"] is False
        assert run(hook["entry"], clone.root).returncode == 0
    (clone.root / "datasets" / "digits.yaml").unlink()
    wrong = run(own["entry"], clone.root)
    assert wrong.returncode == 2
    assert "models/base.yaml:10:15: error: spec.training.dataset.name" in wrong.stdout


def test_the_editor_has_a_schema_for_each_manifest() -> None:
    settings = json.loads((EXAMPLES / ".vscode" / "settings.json").read_text())
    for schema, patterns in settings["yaml.schemas"].items():
        assert f"{Path(schema).stem}" in {"model", "dataset", "config"}
        for pattern in patterns:
            assert list(EXAMPLES.glob(pattern.removeprefix("!"))), pattern
    extensions = json.loads((EXAMPLES / ".vscode" / "extensions.json").read_text())
    assert extensions["recommendations"] == ["redhat.vscode-yaml"]
