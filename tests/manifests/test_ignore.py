"""Which files are manifests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.manifests.ignore import MOST_PATTERNS, Ignore
from reconciler.manifests.paths import is_manifest_path


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


def test_a_pattern_with_many_stars_ends() -> None:
    for pattern in (b"*a" * 12 + b"b", b"**/a/" * 40 + b"b", b"[a-z]*" * 200 + b"!"):
        ignore = Ignore.parse(pattern)
        assert not ignore.matches("a" * 200 + ".yaml")
        assert not ignore.matches("/".join("a" * 200) + ".yaml")


def test_patterns_beyond_the_bound_are_told() -> None:
    many = b"".join(b"a%d.yaml\n" % number for number in range(MOST_PATTERNS))
    assert not Ignore.parse(many).truncated
    assert Ignore.parse(many + b"b.yaml\n").truncated
    long = Ignore.parse(b"[[:" * 300_000 + b"\nb.yaml\n")
    assert long.truncated
    assert long.matches("b.yaml")


@pytest.fixture(scope="module")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "--quiet", str(path)], check=True)
    return path


_PARTS = st.one_of(
    st.text("ab*?!-\\[]^ ", max_size=5),
    st.sampled_from(["**", "*", "[!a]b", "[a-b]*", "a[[:alpha:]]", "*a*b", "[]a]", "a\\ ", "b-a"]),
)
_LINES = st.builds(
    lambda sign, root, parts, end: sign + root + "/".join(parts) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(_PARTS, min_size=1, max_size=4),
    st.sampled_from(["", "", "/", " "]),
)
_PATHS = st.lists(st.text("ab-]!^", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join)


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(_LINES, min_size=1, max_size=4), paths=st.lists(_PATHS, max_size=20))
def test_git_ignores_the_same_files(
    lines: list[str], paths: list[str], empty_repository: Path
) -> None:
    # As Git reads a file of patterns: the first line is no place for a mark of byte order.
    (empty_repository / "patterns").write_text("\n".join(lines) + "\n")
    found = subprocess.run(
        ["git", "-c", "core.excludesFile=patterns", "check-ignore", "--no-index", "--stdin", "-z"],
        cwd=empty_repository,
        input="".join(f"{path}\0" for path in paths),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in (0, 1), found.stderr
    ignored = set(found.stdout.split("\0")) - {""}
    ours = Ignore.parse("\n".join(lines).encode())
    assert {path for path in paths if ours.matches(path)} == ignored
