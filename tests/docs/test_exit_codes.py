"""The table of exit codes, and what the commands end with."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import reconciler.cli
from reconciler.cli import COMMANDS
from reconciler.cli.exit_codes import ExitCode
from tests.docs.reading import ROOT

_ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| [^|]+ \|$", re.MULTILINE)
_COMMAND_LINE = Path(reconciler.cli.__file__).parent


def table() -> dict[int, str]:
    """The commands of each exit code, as the page names them."""
    page = (ROOT / "docs/operations.md").read_text()
    section = page.partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    return {int(code): commands for code, commands in _ROW.findall(section)}


def test_the_table_has_each_exit_code_and_no_other() -> None:
    assert list(table()) == [code.value for code in ExitCode]


def test_a_code_of_some_commands_is_of_those_that_end_with_it() -> None:
    special = {ExitCode.FINDINGS, ExitCode.WAITING}
    used = {
        code: {command for command in COMMANDS if f"ExitCode.{code.name}" in source(command)}
        for code in special
    }
    assert used == {code: set(re.findall(r"`(\w+)`", table()[code])) for code in special}
    assert all(table()[code] == "every command" for code in set(ExitCode) - special)


def test_no_command_ends_with_a_number_of_its_own() -> None:
    for file in _COMMAND_LINE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "sys.exit":
                numbers = [n for n in ast.walk(node) if isinstance(n, ast.Constant)]
                assert all(file.name == "__init__.py" and n.value == 0 for n in numbers), file


def source(command: str) -> str:
    return (_COMMAND_LINE / f"{command}.py").read_text()
