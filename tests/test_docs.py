"""What the documentation shows is what the program takes, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.cli import COMMANDS
from reconciler.config import load_setup
from reconciler.manifests.read import read_file
from tools.reference import pages

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "examples-repo/README.md"])
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
_COMMAND = re.compile(r"^(?:\$ )?reconciler ([a-z]+)", re.MULTILINE)

ids = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for name, text in _BLOCK.findall(page.read_text()):
            if name == language:
                found.append((f"{page.name}: {text.splitlines()[0]}", text))
    return found


@pytest.mark.parametrize(("where", "text"), blocks("yaml"))
def test_yaml_is_a_manifest_or_a_configuration(where: str, text: str, tmp_path: Path) -> None:
    content = read_file("m.yaml", text.encode())
    assert content.problems == ()
    if not content.manifests:
        file = tmp_path / "reconciler.yaml"
        file.write_text(text)
        load_setup(file, {})


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_to_files(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("name", pages())
def test_the_reference_is_current(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == pages()[name], "write it anew with `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_exist(page: Path) -> None:
    for _, text in _BLOCK.findall(page.read_text()):
        for name in _COMMAND.findall(text):
            assert name in COMMANDS
