"""A pinned value is replaced in the text, and nothing else changes."""

from __future__ import annotations

import pytest

from reconciler.manifests import CannotEditError, replace_value
from reconciler.types import Kind, ObjectRef

OLD, NEW = "a" * 40, "b" * 40
REF = ObjectRef(Kind.MODEL, "default", "m")
COMMIT = ("spec", "source", "git", "commit")
HEAD = "kind: Model\nmetadata: {name: m}\nspec:\n"
GIT = "https://git.example.com/a.git"


def replaced(text: str, file: str = "m.yaml") -> str:
    return replace_value(text, file=file, ref=REF, field=COMMIT, value=NEW)


@pytest.mark.parametrize(
    "source",
    [
        f"  source: {{git: {{url: {GIT}, commit: {OLD}}}}}  # why\n",
        f"  source:\n    git:\n      commit: {OLD} # pinned\n      url: {GIT}\n",
        f"  source:\r\n    git:\r\n      url: {GIT}\r\n      commit: '{OLD}'\r\n",
        f'  source: {{"git": {{"commit": "{OLD}", "url": "{GIT}"}}}}\n',
    ],
    ids=["flow", "block", "carriage returns", "quoted"],
)
def test_only_the_value_changes(source: str) -> None:
    text = f"# A comment.\n{HEAD}{source}  training: {{mode: Scratch}}\n---\nkind: ConfigMap\n"
    found = replaced(text)
    assert NEW in found
    assert found.replace(f'"{NEW}"', OLD) == text.replace(f'"{OLD}"', OLD).replace(f"'{OLD}'", OLD)


@pytest.mark.parametrize(
    "source",
    [
        f"  source: {{git: {{url: {GIT}}}}}\n",
        f"  source: {{git: {{url: {GIT}, commit: &c {OLD}}}}}\n",
        f"  source:\n    git:\n      url: {GIT}\n      commit: >-\n        {OLD}\n",
    ],
    ids=["not there", "an anchor", "folded"],
)
def test_what_cannot_be_replaced_by_itself_is_refused(source: str) -> None:
    with pytest.raises(CannotEditError, match=r"spec\.source\.git\.commit"):
        replaced(f"{HEAD}{source}  training: {{mode: Scratch}}\n")


def test_a_value_that_two_objects_share_is_not_replaced() -> None:
    source = f"  source: {{git: &git {{url: {GIT}, commit: {OLD}}}}}\n"
    text = f"{HEAD}{source}  training: {{mode: Scratch}}\n"
    assert replaced(text).count(NEW) == 1
    shared = (
        "kind: Model\nmetadata: {name: n, labels: {a: &c " + OLD + "}}\nspec:\n"
        f"  source: {{git: {{url: {GIT}, commit: *c}}}}\n  training: {{mode: Scratch}}\n"
    )
    with pytest.raises(CannotEditError):
        replace_value(
            shared,
            file="n.yaml",
            ref=ObjectRef(Kind.MODEL, "default", "n"),
            field=COMMIT,
            value=NEW,
        )
