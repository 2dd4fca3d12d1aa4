"""Which files are manifests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifests.collection import Ignore, is_manifest_path


@pytest.mark.parametrize("path", ["a.yaml", "b/c.yml", "d.json", ".github/workflows/x.yaml"])
def test_yaml_and_json_may_hold_manifests(path: str) -> None:
    assert is_manifest_path(path)


@pytest.mark.parametrize("path", ["a.txt", "yaml", "a.yaml.bak", "README.md", "a.YAML.md"])
def test_other_files_do_not(path: str) -> None:
    assert not is_manifest_path(path)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("charts/values.yaml", True),
        ("deep/charts/values.yaml", True),
        ("top/a.yaml", True),
        ("deep/top/a.yaml", False),
        ("x.secret.yaml", True),
        ("keep.secret.yaml", False),
        ("models/a.yaml", False),
        ("# a comment", False),
    ],
)
def test_patterns_are_those_of_gitignore(path: str, ignored: bool) -> None:
    patterns = b"# a comment\n\ncharts/\n/top/\n*.secret.yaml\n!keep.secret.yaml\n"
    assert Ignore.parse(patterns).matches(path) is ignored


def test_a_line_that_is_no_pattern_ignores_nothing_and_spares_the_others() -> None:
    ignore = Ignore.parse(b"!\n\\\n\xff\na.yaml\n")
    assert ignore.matches("a.yaml")
    assert not ignore.matches("b.yaml")


def test_an_empty_file_ignores_nothing() -> None:
    assert not Ignore.parse(b"").matches("a.yaml")


@given(st.binary(max_size=60))
def test_any_bytes_are_read(data: bytes) -> None:
    Ignore.parse(data).matches("models/a.yaml")
