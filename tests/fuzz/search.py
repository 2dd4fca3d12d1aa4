"""The process that searches in one target: ``python -m tests.fuzz.search NAME FOLDER``.

What follows the folder goes to libFuzzer. Inputs that reach more code are kept in ``.fuzz/``, and
the next search begins with them. An input that shows a defect is written beside the seeds of its
target, where the tests read it from then on.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from tests.fuzz.target import FOUND

_KEPT = Path(__file__).parents[2] / ".fuzz"
#: Seconds that one input may take, and MiB that the process may.
_SLOWEST, _MOST_MEMORY = 20, 2048


def main(name: str, folder: Path, *options: str) -> None:
    """Search until the time is over, or a defect is found. It never returns."""
    atheris: Any = importlib.import_module("atheris")  # it has no types, and no wheel everywhere
    with atheris.instrument_imports(include=["reconciler", "tomllib"]):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
    kept, inputs, tokens = _KEPT / name, folder / "inputs", folder / "tokens"
    kept.mkdir(parents=True, exist_ok=True)
    inputs.mkdir()
    tokens.write_text("".join(f'"{_escaped(token)}"\n' for token in target.tokens))
    arguments = [
        f"-dict={tokens}",
        f"-max_len={target.largest}",
        f"-timeout={_SLOWEST}",
        f"-rss_limit_mb={_MOST_MEMORY}",
        f"-artifact_prefix={target.corpus}/{FOUND}",
        *options,
        str(kept),
        str(target.corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], lambda data: target.check(data, inputs))
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    """Write a token as a dictionary of libFuzzer has it."""
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
