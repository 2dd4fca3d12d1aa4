"""What the documentation shows is what the program takes, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from reconciler.cli import COMMANDS, cli
from reconciler.config import load_setup
from reconciler.manifests.loader import read_file
from tests.docs.reading import PAGES, ROOT, Block, blocks
from tools.reference import pages

_LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
_INLINE = re.compile(r"`(reconciler [a-z][^`]*)`")
_TYPED = re.compile(r"^(?:\$ )?(reconciler [a-z][^#\n]*)", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
_COMMAND = re.compile(r"^(\$|reconciler|make|git|kubectl|pip|curl|docker) ", re.MULTILINE)

ids = [page.relative_to(ROOT).as_posix() for page in PAGES]


def every(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language in languages]


@pytest.mark.parametrize("block", every("yaml"), ids=str)
def test_yaml_is_a_manifest_or_a_configuration(block: Block, tmp_path: Path) -> None:
    content = read_file("m.yaml", block.text.encode())
    assert content.problems == ()
    if not content.manifests:
        file = tmp_path / "reconciler.yaml"
        file.write_text(block.text)
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
def test_commands_and_their_options_exist(page: Path) -> None:
    typed = [text for b in blocks(page) if b.is_typed for text in _TYPED.findall(b.text)]
    for text in [*_INLINE.findall(page.read_text()), *typed]:
        name, *_ = words = text.split()[1:]
        assert name in COMMANDS, text
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        assert set(_OPTION.findall(" ".join(words))) <= known, text


@pytest.mark.parametrize("block", every(""), ids=str)
def test_what_is_typed_is_marked_as_such(block: Block) -> None:
    assert not _COMMAND.search(block.text), "make it a block of sh or console, so that it is run"
