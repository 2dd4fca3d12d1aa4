"""``retry`` changes one annotation in one manifest, and not a character besides."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from reconciler.manifests.edit import CannotEditError, annotate, set_suspend
from reconciler.manifests.loader import read_file
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.types import Kind, ObjectRef
from tests.cli.conftest import Cli
from tests.cli.example import Example

RETRY = "substratus.ai/retry"
SPEC = "spec: {source: {git: {url: ., path: src}}}\n"
M = ObjectRef(Kind.MODEL, "default", "m")


def edited(text: str, value: str = "1", file: str = "m.yaml") -> str:
    changed = annotate(text, file=file, ref=M, name=RETRY, value=value)
    (manifest,) = [m for m in read_file(file, changed.encode()).manifests if m.ref == M]
    assert manifest.document.metadata.annotations[RETRY] == value
    return changed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("metadata: {name: m}", 'metadata: {name: m, annotations: {substratus.ai/retry: "1"}}'),
        (
            "metadata:\n  name: m  # one\n  labels: {}",
            'metadata:\n  name: m  # one\n  annotations: {substratus.ai/retry: "1"}\n  labels: {}',
        ),
        (
            'metadata: {"name": "m", annotations: {x: y}}',
            'metadata: {"name": "m", annotations: {substratus.ai/retry: "1", x: y}}',
        ),
        (
            "metadata: {name: m, annotations: {}}",
            'metadata: {name: m, annotations: {substratus.ai/retry: "1"}}',
        ),
        (
            "metadata:\n  name: m\n  annotations:\n    # y\n    x: y",
            'metadata:\n  name: m\n  annotations:\n    # y\n    substratus.ai/retry: "1"\n    x: y',
        ),
        (
            "metadata: {name: m, annotations: {substratus.ai/retry: 'é 0'}} # so",
            'metadata: {name: m, annotations: {substratus.ai/retry: "1"}} # so',
        ),
        (
            "metadata:\r\n  name: m\r\n  labels: {}",
            'metadata:\r\n  name: m\r\n  annotations: {substratus.ai/retry: "1"}\r\n  labels: {}',
        ),
        (
            "metadata:\r\n  name: m\r\n  annotations:\r\n    x: y\r\n    z: z",
            (
                "metadata:\r\n  name: m\r\n  annotations:\r\n"
                '    substratus.ai/retry: "1"\r\n    x: y\r\n    z: z'
            ),
        ),
    ],
)
def test_an_annotation_is_set_and_nothing_else_changes(before: str, after: str) -> None:
    # Another document on each side, and comments, stay as they are.
    frame = (
        "# first\nkind: Dataset\nmetadata: {name: d}\nspec: {source: {bucket: {url: s3://x/y}}}\n"
    )
    text = f"{frame}---\nkind: Model\n{before}\n{SPEC}---\n{frame.replace('name: d', 'name: e')}"
    assert edited(text) == text.replace(before, after)


def test_json_stays_json() -> None:
    text = (
        '{\n\t"kind": "Model",\n\t"metadata": {"name": "m"},\n'
        '\t"spec": {"source": {"git": {"url": ".", "path": "s"}}}\n}\n'
    )
    changed = edited(text, file="m.json")
    assert '{"name": "m", "annotations": {"substratus.ai/retry": "1"}}' in changed


def test_what_several_objects_share_is_not_edited() -> None:
    text = (
        "kind: List\nitems:\n"
        "  - {kind: Model, metadata: {name: m, annotations: &a {x: y}}, "
        "spec: {source: {git: {url: ., path: s}}}}\n"
        "  - {kind: Model, metadata: {name: n, annotations: *a}, "
        "spec: {source: {git: {url: ., path: s}}}}\n"
    )
    with pytest.raises(CannotEditError, match=r"set the annotation substratus.ai/retry"):
        edited(text)


# -- the command -----------------------------------------------------------------------------


@pytest.fixture
def example(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Example:
    example = Example(tmp_path / "clone")
    example.sync(failing=("digits-base",))
    monkeypatch.chdir(example.root)
    for setting in (("user.name", "Ada"), ("user.email", "ada@example.com")):
        example.git("config", *setting)
    return example


def test_the_patch_applies_and_makes_the_plan_run_it_again(example: Example, cli: Cli) -> None:
    said = cli("retry", "digits-base")
    assert (said.code, said.err) == (0, "")
    subprocess.run(["git", "apply", "-"], input=said.out, text=True, check=True, cwd=example.root)
    example.commit("Once more")
    plan = cli("plan", "--base", "HEAD~1", "--head", "HEAD").out
    assert f"metadata.annotations.{RETRY}: (none) → 1" in plan
    assert "+ train runs once more: its failure is forgotten" in plan


def test_a_patch_has_the_lines_that_git_has(example: Example, cli: Cli) -> None:
    file = example.root / "models" / "base.yaml"
    text = file.read_bytes().decode()
    at = text.index("spec:")
    file.write_bytes(f'{text[:at]}  annotations: {{note: "one\u2028line"}}\n{text[at:]}'.encode())
    example.commit("A note")
    said = cli("retry", "digits-base")
    assert (said.code, said.err) == (0, "")
    subprocess.run(["git", "apply", "-"], input=said.out.encode(), check=True, cwd=example.root)
    assert f'{RETRY}: "1"' in file.read_bytes().decode()


def test_commit_changes_that_file_alone_and_counts_on(example: Example, cli: Cli) -> None:
    (example.root / "models" / "other.txt").write_text("not of this commit\n")
    example.git("add", "models/other.txt")
    for count in ("1", "2"):
        said = cli("retry", "digits-base", "--commit", code=0)
        assert said.out.startswith(f"Committed {RETRY}: {count} in models/base.yaml")
        assert example.git("show", "--format=%s", "--name-only").split("\n") == [
            "Retry Model default/digits-base",
            "",
            "models/base.yaml",
        ]
    assert example.git("status", "--porcelain") == "A  models/other.txt"


@pytest.mark.parametrize("branch", ["main", "other"])
@pytest.mark.parametrize("remote", ["none", "followed", "itself"])
def test_the_step_after_the_commit_is_named(
    example: Example, cli: Cli, tmp_path: Path, remote: str, branch: str
) -> None:
    config = tmp_path / "reconciler.yaml"
    if branch == "other":
        example.git("checkout", "--quiet", "-b", branch)
    if remote != "none":
        url = str(example.root) if remote == "itself" else "https://git.example.com/models"
        config.write_text(f"repository: {{url: {url}}}\n")
    more = () if remote == "none" else ("--config", str(config))
    step = {
        ("none", "main"): "with the next sync it runs",
        ("none", "other"): "with the next sync it runs",
        ("followed", "main"): "push it; then it runs",
        ("followed", "other"): "merge it into main and push it; then it runs",
        ("itself", "main"): "with the next sync it runs",
        ("itself", "other"): "merge it into main; then it runs",
    }[remote, branch]
    said = cli("retry", "digits-base", "--commit", *more, code=0)
    assert said.out.endswith(f"in models/base.yaml; {step}.\n")


def test_a_commit_of_a_clone_with_a_remote_is_to_be_pushed(example: Example, cli: Cli) -> None:
    example.git("remote", "add", "origin", "https://git.example.com/models")
    said = cli("retry", "digits-base", "--commit", code=0)
    assert said.out.endswith("; push it; then it runs.\n")


def test_a_file_with_changes_of_its_own_is_not_committed(example: Example, cli: Cli) -> None:
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    said = cli("retry", "digits-base", "--commit", code=1)
    assert "models/base.yaml has changes that are not committed" in said.err


@pytest.mark.parametrize("hook", ["exit 1", "echo '# formatted' >> models/base.yaml; exit 1"])
def test_a_commit_that_a_hook_refuses_leaves_everything_as_it_was(
    example: Example, cli: Cli, hook: str
) -> None:
    file = example.root / "models" / "base.yaml"
    file.chmod(0o755)
    example.commit("An odd mode")
    before = file.read_bytes()
    script = example.root / ".git" / "hooks" / "pre-commit"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!/bin/sh\necho no retries today\n{hook}\n")
    script.chmod(0o755)
    said = cli("retry", "digits-base", "--commit")
    assert (said.code, said.err) == (1, "error: git commit failed: no retries today\n")
    assert file.read_bytes() == before
    assert file.stat().st_mode & 0o777 == 0o755
    assert example.git("status", "--porcelain") == ""
    script.unlink()
    assert cli("retry", "digits-base", "--commit").code == 0
    assert file.stat().st_mode & 0o777 == 0o755


def test_a_commit_is_the_clone_s_also_where_git_s_variables_name_another(
    example: Example, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hook:
        hook.setenv("GIT_DIR", str(tmp_path / "other.git"))
        hook.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
        said = cli("retry", "digits-base", "--commit")
    assert (said.code, said.err) == (0, "")
    assert example.git("log", "-1", "--format=%s") == "Retry Model default/digits-base"


def test_a_retry_of_what_has_not_failed_says_that_it_does_nothing(
    example: Example, cli: Cli
) -> None:
    said = cli("retry", "digits", code=1)
    assert said.out == ""
    assert "none of its tasks has failed" in said.err
    assert "change the section's `rerun`" in said.err


def test_a_wrong_neighbour_in_the_file_keeps_nothing_from_being_edited() -> None:
    neighbour = "kind: Model\nmetadata: {name: to_nothing}\nspec: {sorce: {}}\n"
    text = f"{neighbour}---\nkind: Model\nmetadata:\n  name: m\n{SPEC}"
    changed = edited(text)
    assert changed.startswith(neighbour)
    assert f'annotations: {{{RETRY}: "1"}}' in changed


# -- suspend, resume and cancel --------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("spec: {source: x}", "spec: {suspend: true, source: x}"),
        ("spec:\n  # so\n  source: x", "spec:\n  # so\n  suspend: true\n  source: x"),
        ("spec:\n  source: x\n  suspend: false # y", "spec:\n  source: x\n  suspend: true # y"),
        ("spec:\r\n  source: x\r", "spec:\r\n  suspend: true\r\n  source: x\r"),
    ],
)
def test_suspend_is_set_and_nothing_else_changes(before: str, after: str) -> None:
    frame = f"kind: Dataset\nmetadata: {{name: d}}\n{SPEC}"
    source = "{git: {url: ., path: src}}"
    text, wanted = (
        f"{frame}---\nkind: Model\nmetadata: {{name: m}}\n{spec}\n---\n{frame.replace('d}', 'e}')}"
        for spec in (before.replace("x", source), after.replace("x", source))
    )
    assert set_suspend(text, file="m.yaml", ref=M, suspend=True) == wanted


def test_a_suspend_that_several_objects_share_is_not_set() -> None:
    text = f"kind: Model\nmetadata: {{name: m}}\n{SPEC.replace('spec: ', 'spec: &s ')}"
    text = f"kind: List\nitems:\n  - {text.strip().replace(chr(10), chr(10) + '    ')}\n"
    text += "  - kind: Model\n    metadata: {name: n}\n    spec: *s\n"
    with pytest.raises(CannotEditError, match=r"set spec\.suspend: true by hand"):
        set_suspend(text, file="m.yaml", ref=M, suspend=True)


def test_suspend_and_resume_are_commits(example: Example, cli: Cli) -> None:
    said = cli("suspend", "digits", code=0)
    assert said.out.startswith("Committed spec.suspend: true in datasets/")
    assert example.git("log", "-1", "--format=%s") == "Suspend Dataset default/digits"
    assert "suspended already; nothing to commit" in cli("suspend", "digits", code=0).out
    patch = cli("resume", "digits", "--dry-run", code=0).out
    assert "suspend: false" in patch
    assert cli("resume", "digits", code=0).out.endswith("it runs what is missing.\n")
    assert "is not suspended" in cli("resume", "digits", code=0).out


def test_a_cancelled_training_ends_and_its_object_is_suspended(example: Example, cli: Cli) -> None:
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Longer")
    example.sync(running=("digits-base",))
    ref = ObjectRef(Kind.MODEL, "default", "digits-base")
    assert example.records[ref].phase is Phase.TRAINING
    (run,) = [run for run in example.runs.values() if run.object == ref and run.live]
    cli("cancel", "digits-base", "--reason", "diverged", code=0)
    assert example.git("log", "-1", "--format=%b") == "diverged"
    plan = cli("plan", "--base", "HEAD~1", "--head", "HEAD").out
    assert "cancelled" in plan
    example.sync()
    record = example.records[ref]
    assert (record.phase, run.name in example.runs) == (Phase.SUSPENDED, False)
    last = record.history[-1]
    assert (last.phase, last.reason) == (TaskPhase.INTERRUPTED, "Cancelled")

    cli("resume", "digits-base", code=0)
    example.sync()
    assert example.records[ref].phase is Phase.READY


def test_a_time_of_a_cancellation_that_is_none_is_an_error() -> None:
    text = (
        f"kind: Model\nmetadata:\n  name: m\n  annotations: {{substratus.ai/cancel: now}}\n{SPEC}"
    )
    (problem,) = read_file("m.yaml", text.encode()).problems
    assert "expected a time such as 2026-11-29T20:00:00Z, found" in problem.message


def test_a_cancellation_where_nothing_runs_is_refused_and_suspends_nothing(
    example: Example, cli: Cli
) -> None:
    said = cli("cancel", "digits", code=1)
    assert "nothing of Dataset default/digits runs: it is Ready." in said.err
    assert "`reconciler suspend digits` keeps it from starting anything new" in said.err
    assert example.git("log", "-1", "--format=%s") == "Start from the examples"
