"""Somebody who follows a page to the letter, in a shell of his own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.ports import free
from tests.docs.reading import ROOT, Step, blocks, matches, steps
from tests.e2e.site import environment

#: Where the pages' daemon listens, which on a machine that tests share may be taken.
_ADDRESS = "127.0.0.1:8080"


@dataclass
class Reader:
    """``folder`` is where he begins; ``edits`` are what he changes when a page opens an editor."""

    folder: Path
    edits: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    path: tuple[Path, ...] = ()

    def follow(self, page: str) -> None:
        """Type what the page says, block by block, in one shell; all of it must work."""
        todo = [s for b in blocks(ROOT / page) if b.is_typed for s in steps(b)]
        assert todo, f"{page} has nothing to type"
        outputs = self.folder.parent / f"{self.folder.name}.outputs"
        outputs.mkdir()
        editor = outputs / "editor"
        expressions = [argument for edit in self.edits for argument in ("-e", edit)]
        editor.write_text(f'#!/bin/sh\nsed -i {shlex.join(expressions)} "$@"\n')
        editor.chmod(0o755)
        address = f"127.0.0.1:{free(1)[0]}"
        script = _script(todo, outputs).replace(_ADDRESS, address)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment(address) | {"EDITOR": str(editor)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        for number, step in enumerate(todo):
            output = outputs / str(number)
            printed = output.read_text() if output.exists() else ""
            beside = done.stdout[-4000:]
            told = f"{step.where}\nprinted:\n{printed[-4000:]}\nand beside it:\n{beside}"
            assert (outputs / f"{number}.done").exists(), told
            if step.prints is not None:
                assert matches(step.prints, printed), f"shown:\n{step.prints}\n{told}"

    def _environment(self, address: str) -> dict[str, str]:
        programs = [*map(str, self.path), os.environ["PATH"]]
        git = {f"GIT_{who}_{what}": f"test{suffix}" for who, what, suffix in _WHO}
        return {
            **environment(),
            **git,
            "PATH": os.pathsep.join(programs),
            "RECONCILER_SERVER__ADDRESS": address,
            **self.variables,
        }


_WHO = [
    (who, what, suffix)
    for who in ("AUTHOR", "COMMITTER")
    for what, suffix in (("NAME", ""), ("EMAIL", "@localhost"))
]


def _script(todo: list[Step], outputs: Path) -> str:
    """One script of all steps: what a step defines and where it goes is there for the next."""
    parts = ["set -euo pipefail"]
    for number, step in enumerate(todo):
        output = shlex.quote(str(outputs / str(number)))
        parts.append(f"{{\n{step.script}\n}} > {output}\ntouch {output}.done")
    return "\n".join(parts)


#: The program under test, before all others of that name.
CHECKOUT = Path(sys.executable).parent
