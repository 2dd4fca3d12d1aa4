"""A parser of what others write, and the files that a search begins with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
#: Names of inputs that a search has found begin with this.
FOUND = "found-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser under test.

    ``parse`` reads an input, in a folder of its own if it needs files, and asserts what must hold
    of the result. Only an error in ``raises`` may leave it. ``tokens`` are texts of the format, to
    be inserted. An input has up to ``largest`` bytes.
    """

    name: str
    parse: Callable[[bytes, Path], None]
    raises: tuple[type[Exception], ...] = ()
    tokens: tuple[bytes, ...] = ()
    largest: int = 4096

    @property
    def corpus(self) -> Path:
        """The folder of its seeds, which are valid, and of what was found."""
        return CORPUS / self.name

    def seeds(self) -> dict[str, bytes]:
        """Return the inputs to begin with, by the names of their files."""
        return {path.name: path.read_bytes() for path in sorted(self.corpus.iterdir())}

    def check(self, data: bytes, folder: Path) -> None:
        """Parse an input; raises whatever is a defect."""
        with suppress(*self.raises):
            self.parse(data, folder)
