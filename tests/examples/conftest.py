"""The example sources under the environment that an engine gives them, without any engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests import processes
from tests.examples.manifests import EXAMPLES, manifests
from tests.kept import made_once

SOURCES = EXAMPLES / "sources"


@dataclass(frozen=True, slots=True)
class Scripts:
    """Starts the scripts of ``sources/`` with an interpreter that has their requirements."""

    interpreter: Path
    folder: Path  # an empty one, for params and scratch

    def start(
        self,
        script: str,
        params: dict[str, object],
        *,
        attempt: int = 1,
        **directories: Path,
    ) -> subprocess.Popen[str]:
        """Start ``<source>/<script>``; directories by variable, in lower case: ``model_dir=…``."""
        source, name = script.split("/")
        for directory in directories.values():
            directory.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(dir=self.folder))
        params_file = scratch / "params.json"
        params_file.write_text(json.dumps(params))
        environment = {
            "PATH": f"{self.interpreter.parent}{os.pathsep}{os.environ['PATH']}",
            "ATTEMPT": str(attempt),
            "PARAMS_FILE": str(params_file),
            "PROGRESS_FILE": str(scratch / "progress.json"),
            "SCRATCH_DIR": str(scratch),
        }
        environment |= {variable.upper(): str(path) for variable, path in directories.items()}
        return subprocess.Popen(
            [SOURCES / source / name],
            cwd=SOURCES / source,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self,
        script: str,
        params: dict[str, object],
        *,
        attempt: int = 1,
        **directories: Path,
    ) -> str:
        """Run it to its end, which must be a success, and return its output."""
        with self.start(script, params, attempt=attempt, **directories) as process:
            output, _ = process.communicate()
        assert process.returncode == 0, output
        return output


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """A Python that has the requirements, made once per machine and kept in the user's cache."""
    requirements = SOURCES / "digits-mlp" / "requirements.txt"

    def make(folder: Path) -> None:
        python = folder / "bin" / "python"
        _uv("venv", "--relocatable", "--allow-existing", "--python", sys.executable, folder)
        _uv("pip", "install", "--compile-bytecode", "--python", python, "-r", requirements)

    return made_once("examples", (requirements,), make) / "bin" / "python"


def _uv(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "uv", "--quiet", *arguments]
    done = processes.run(command)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def scripts(interpreter: Path, tmp_path: Path) -> Iterator[Scripts]:
    """The scripts; what they are given to read must be as it was afterwards."""
    before = _listing()
    yield Scripts(interpreter, tmp_path)
    assert _listing() == before


@pytest.fixture(scope="session")
def datasets(interpreter: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Both datasets as their manifests ask for them, by name. Tests only read them."""
    scripts = Scripts(interpreter, tmp_path_factory.mktemp("datasets"))
    made = {}
    for name in ["digits", "digits-tilted"]:
        made[name] = scripts.folder / name
        params = manifests()[name].spec.load.params
        scripts.run("digits-data/load.sh", params, data_dir=made[name])
    return made


def _listing() -> set[Path]:
    return set(SOURCES.rglob("*"))
