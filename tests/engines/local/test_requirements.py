"""Requirements of a source: which trees get the same environment."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from reconciler.engines.local.failures import RequirementsError
from reconciler.engines.local.requirements import Form, Requirements, requirements_of


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("", False),
        ("# only a comment\n\n", False),
        ("torch==2.4\nnumpy>=1,<3 ; python_version > '3'\nscikit-learn[all]~=1.5\n", False),
        ("tiny==1 \\\n  --hash=sha256:abc\n", False),
        ("--index-url https://example.com/simple\ntiny\n", False),
        ("tiny @ https://example.com/tiny-1.0-py3-none-any.whl\n", False),
        ("-r requirements/all.txt\n", False),
        ("--requirement=requirements/all.txt", False),
        ("-crequirements/all.txt\ntiny\n", False),
        ("-r requirements/loop.txt\n", False),
        ("-r requirements/own.txt\n", True),
        ("-r missing.txt\n", True),
        ("-r ../outside.txt\n", True),
        ("-r https://example.com/all.txt\n", True),
        ("-e .\n", True),
        ("./package\n", True),
        (".\n", True),
        ("/opt/package\n", True),
        ("file:///opt/package\n", True),
        ("tiny @ file:///opt/package\n", True),
        ("--find-links wheels\ntiny\n", True),
        ("tiny-1.0-py3-none-any.whl\n", True),
        ("package/\n", True),
        ("-r a\0b.txt\n", True),
    ],
)
def test_requirements_are_shared_only_where_they_mean_the_same_anywhere(
    tmp_path: Path, text: str, local: bool
) -> None:
    tree = tmp_path / "tree"
    included = {
        "../outside.txt": "torch\n",
        "requirements/all.txt": "# all\n-r more.txt\n",
        "requirements/more.txt": "torch==2\n",
        "requirements/loop.txt": "-r ../requirements.txt\n",
        "requirements/own.txt": "-e ../package\n",
    }
    (tree / "requirements").mkdir(parents=True)
    for name, content in (included | {"requirements.txt": text}).items():
        (tree / name).write_text(content)
    found = requirements_of(tree)
    assert found is not None
    assert found.local is local
    assert (found.environment("a") != found.environment("b")) is local


def test_environments_differ_by_the_files_that_requirements_include(tmp_path: Path) -> None:
    names = set()
    (tmp_path / "requirements.txt").write_text("torch\n-c constraints.txt\n")
    for version in ("2.3", "2.4"):
        (tmp_path / "constraints.txt").write_text(f"torch=={version}\n")
        found = requirements_of(tmp_path)
        assert found is not None
        assert not found.local
        names.add(found.environment("a"))
    assert len(names) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"pyproject.toml": '[tool.uv]\nindex-url = "https://one.example.com"\n'},
        {"uv.toml": 'index-url = "https://one.example.com"\n'},
    ],
)
def test_environments_from_different_indexes_are_different(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    (tmp_path / "requirements.txt").write_text("torch\n")
    names = set()
    for text in (None, *("one", "two")):
        for name, content in settings.items():
            (tmp_path / name).write_text(content.replace("one", text) if text else "")
        found = requirements_of(tmp_path)
        assert found is not None
        names.add(found.environment("a"))
    assert len(names) == 3


@pytest.mark.parametrize(
    ("project", "shared"),
    [
        ('dependencies = ["torch"]', True),
        ('dependencies = ["torch", "lib @ file:///opt/lib"]', False),
        ('dynamic = ["version"]\ndependencies = ["torch"]', True),
        ('dynamic = ["dependencies"]\n[tool.uv.sources]\ntorch = {index = "a"}', False),
        ('dependencies = ["torch"]\n[tool.uv.sources]\ntorch = {path = "torch"}', False),
        ('dependencies = ["lib"]\n[tool.uv.sources]\nlib = {workspace = true}', False),
        ('dependencies = ["lib"]\n[tool.uv.sources]\nlib = {git = "https://a.b/c"}', True),
        (
            'dependencies = ["lib"]\n[tool.uv]\nsources.lib = [{index = "a"}, {path = "b"}]',
            False,
        ),
    ],
)
def test_a_projects_dependencies_are_shared_where_they_mean_the_same_anywhere(
    tmp_path: Path, project: str, shared: bool
) -> None:
    backend = "[build-system]\nrequires = []\n"
    (tmp_path / "pyproject.toml").write_text(f'{backend}[project]\nname = "x"\n{project}\n')
    found = requirements_of(tmp_path)
    assert found is not None
    assert (found.environment("a") == found.environment("b")) is shared


def test_what_only_configures_tools_needs_no_environment(tmp_path: Path) -> None:
    assert requirements_of(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert requirements_of(tmp_path) is None


def test_a_line_of_blanks_is_read_in_one_pass(tmp_path: Path) -> None:
    """Each of two patterns took any part of the blanks: hours, of a file of 1 MiB."""
    (tmp_path / "requirements.txt").write_text(f"a{' ' * 1_000_000}b\n")
    found = requirements_of(tmp_path)
    assert found is not None
    assert found.local


@pytest.mark.parametrize(
    "text",
    [
        f"a = {'[' * 5000}",
        "[project]\ndynamic = 1\n",
        "[project]\ndependencies = {}\n",
    ],
)
def test_a_pyproject_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(RequirementsError, match=r"pyproject\.toml: "):
        requirements_of(tmp_path)


def test_a_pyproject_beside_requirements_only_configures_tools(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"a = {'[' * 5000}")
    (tmp_path / "requirements.txt").write_text("torch\n")
    found = requirements_of(tmp_path)
    assert found is not None
    assert not found.local


#: Where a file's entry in the archive's directory has its flags, and its method of compression.
_FLAGS, _METHOD = 8, 10


@pytest.mark.parametrize(
    ("place", "value"), [(_FLAGS, 1), (_METHOD, 99)], ids=["encrypted", "compressed otherwise"]
)
def test_a_wheel_that_cannot_be_unpacked_is_refused(tmp_path: Path, place: int, value: int) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("own-1.dist-info/METADATA", "Requires-Dist: torch\n")
    data = bytearray(archive.getvalue())
    data[data.index(b"PK\x01\x02") + place] = value
    wheel = tmp_path / "own-1-py3-none-any.whl"
    wheel.write_bytes(data)
    computed = Requirements(None, local=False, form=Form.LINES, project=True)
    with pytest.raises(RequirementsError, match=r"own-1-py3-none-any\.whl has no metadata"):
        computed.resolved(wheel)
