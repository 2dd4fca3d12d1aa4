"""What import-linter cannot see of "nobody imports another package's inside"."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import reconciler

ROOT = Path(reconciler.__file__).parent
#: They import a module by a name that they make: of their own package, or of a command.
BY_NAME = {"lazy_exports.py", "cli/__init__.py"}
PACKAGES = sorted(
    f"reconciler.{'.'.join(folder.relative_to(ROOT).parts)}"
    for folder in ROOT.rglob("*")
    if (folder / "__init__.py").is_file()
)


def ways_inside(source: str) -> Iterator[str]:
    """Find what binds a whole package, or imports by a name as text."""
    for node in ast.walk(ast.parse(source)):
        yield from (f"line {getattr(node, 'lineno', 0)}: {found}" for found in _ways(node))


def _ways(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [each.name for each in names if each.name.startswith("reconciler.")]
        case ast.ImportFrom(module="reconciler", names=names):
            return [each.name for each in names if f"reconciler.{each.name}" in PACKAGES]
        case ast.ImportFrom(level=level) if level:
            return ["a relative import"]
        case ast.Name(id=called) | ast.Attribute(attr=called):
            return [called] if called in {"import_module", "__import__"} else []
    return []


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_holds_a_package_of_which_it_could_take_the_inside(path: Path) -> None:
    allowed = str(path.relative_to(ROOT)) in BY_NAME
    found = list(ways_inside(path.read_text()))
    assert not found or allowed, found


@pytest.mark.parametrize(
    "source",
    [
        "from reconciler import planner as p",
        "import reconciler.planner",
        "from ..planner import diff",
        "importlib.import_module('reconciler.planner.diff')",
        "x = __import__('reconciler.planner.diff')",
    ],
)
def test_ways_inside_are_recognised(source: str) -> None:
    assert list(ways_inside(source))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_every_name_that_it_exports(package: str) -> None:
    module = import_module(package)
    missing = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
    assert not missing
