"""Requirements of a source: which trees get the same environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.engines.local.requirements import requirements_of


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
