"""``accept`` commits what accepts a rejected artifact, and refuses what is not rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.planner.phases import Phase
from reconciler.types import Kind, ObjectRef
from tests.cli.conftest import Cli
from tests.cli.example import Example

BASE = ObjectRef(Kind.MODEL, "default", "digits-base")


@pytest.fixture
def example(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Example:
    """The base does not reach what its gate asks for."""
    example = Example(tmp_path / "clone")
    example.edit("models/base.yaml", "accuracy >= 0.9\n", "accuracy >= 0.99\n")
    example.commit("Ask for more")
    example.sync()
    assert example.records[BASE].phase is Phase.REJECTED
    monkeypatch.chdir(example.root)
    for setting in (("user.name", "Ada"), ("user.email", "ada@example.com")):
        example.git("config", *setting)
    return example


def rejected(example: Example) -> str:
    candidate = example.records[BASE].candidate
    assert candidate is not None
    return candidate.key


def test_the_rejected_artifact_is_accepted_and_what_follows_is_named(
    example: Example, cli: Cli
) -> None:
    key = rejected(example)
    said = cli("accept", "digits-base", "--reason", "good enough for now", code=0)
    assert f"Committed substratus.ai/accept: {key[:12]} in models/base.yaml" in said.out
    assert "it becomes the artifact of Model default/digits-base" in said.out
    assert "It is accepted though it failed: accuracy >= 0.99 (found 0.97)." in said.out
    assert "What is made from it then follows: Model default/tilted-full" in said.out
    subject = example.git("log", "-1", "--format=%s%n%b").splitlines()
    assert subject == [f"Accept {key[:12]} of Model default/digits-base", "good enough for now"]
    assert "already" in cli("accept", "digits-base", code=0).out
    example.sync()
    record = example.records[BASE]
    assert record.artifact is not None
    assert (record.phase, record.artifact.key) == (Phase.READY, key)
    assert "nothing of Model default/digits-base is rejected: it is Ready" in (
        cli("accept", "digits-base", code=1).err
    )


def test_a_short_key_says_which_and_another_is_refused(example: Example, cli: Cli) -> None:
    key = rejected(example)
    patch = cli("accept", key[:8], "--dry-run", code=0).out
    assert f'+  annotations: {{substratus.ai/accept: "{key[:12]}"}}' in patch
    assert "it is " not in cli("accept", "digits-base", key[:6], "--dry-run", code=0).out
    other = cli("accept", "digits-base", "0123abcd", code=1)
    assert (
        f"0123abcd is not the rejected artifact of Model default/digits-base, which is {key[:12]}"
        in (other.err)
    )
    assert example.git("status", "--porcelain") == ""


def test_what_was_rejected_and_is_not_asked_for_now_is_refused(example: Example, cli: Cli) -> None:
    key = rejected(example)
    example.edit("models/base.yaml", "accuracy >= 0.99\n", "accuracy >= 0.9\n")
    example.edit("models/base.yaml", "epochs: 20", "epochs: 30")
    example.commit("Longer, and ask for less")
    example.sync()
    said = cli("accept", "digits-base", key[:12], code=1)
    assert f"its manifest does not ask for {key[:12]} now, which was rejected" in said.err
    assert "nothing of Dataset default/digits is rejected" in cli("accept", "digits", code=1).err
