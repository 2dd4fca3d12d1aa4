"""Commands, called in this process as the entry point calls them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.cli import main


@dataclass(frozen=True)
class Said:
    """What a command ended with and printed."""

    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Call a command in an empty folder, with no configuration of the developer's."""
    monkeypatch.chdir(tmp_path)
    hidden = ("RECONCILER_", "GITHUB_")  # the latter change what is printed in a workflow
    for name in [name for name in os.environ if name.startswith(hidden)]:
        monkeypatch.delenv(name)

    def call(*arguments: str, code: int | None = None) -> Said:
        """Call it; it must end with this code, where one is named."""
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        assert code in (None, ended.value.code), told
        return Said(ended.value.code, told.out, told.err)

    return call


def command(*arguments: str) -> list[str]:
    """The real command, for what must be a process of its own."""
    return [sys.executable, "-m", "reconciler", *arguments]
