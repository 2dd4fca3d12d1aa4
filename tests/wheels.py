"""A small package, as an installer finds it in a folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest


def only_tiny(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder with one package, which is all that installers can reach."""
    folder.mkdir()
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": "WORD = 'hello from tiny'\ndef run():\n    import mine\n    print(mine.WORD)\n",
        f"{info}/entry_points.txt": "[console_scripts]\ntiny-run = tiny:run\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(name, text)
    for tool in ("UV", "PIP"):
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(folder.parent / "cache"))
