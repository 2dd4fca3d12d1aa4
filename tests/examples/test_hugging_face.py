"""The example of Hugging Face as it stands, without PyTorch: make test-transformers runs it."""

from __future__ import annotations

import py_compile
import re
from pathlib import Path

import pytest

from reconciler.config import load_setup
from reconciler.manifests.schema import ModelManifest
from tests.examples.manifests import collection
from tests.processes import run

EXAMPLE = Path(__file__).resolve().parents[2] / "examples-hugging-face"
SOURCE = EXAMPLE / "sources" / "tiny-gpt"


def test_the_manifest_and_the_configuration_are_valid() -> None:
    found = collection(EXAMPLE)
    assert found.problems == ()
    [manifest] = found.objects.values()
    assert isinstance(manifest.document, ModelManifest)
    spec = manifest.document.spec
    assert spec.load.secret_env["HF_TOKEN"].name == "hugging-face"
    assert spec.training is not None
    assert spec.training.stall
    setup = load_setup(EXAMPLE / "reconciler.yaml", {})
    assert setup.repository_url == EXAMPLE.as_uri()


@pytest.mark.parametrize("script", ["load", "train"])
def test_each_command_is_executable_and_its_program_compiles(script: str, tmp_path: Path) -> None:
    listed = run(["git", "ls-files", "--stage", "--", f"{script}.sh"], cwd=SOURCE)
    if listed.returncode:
        pytest.skip("not a Git checkout")
    assert listed.stdout.startswith("100755 ")
    assert f"{script}.py" in (SOURCE / f"{script}.sh").read_text()
    py_compile.compile(str(SOURCE / f"{script}.py"), str(tmp_path / "compiled"), doraise=True)


def test_the_image_has_what_the_local_environment_has() -> None:
    dockerfile = (SOURCE / "Dockerfile").read_text()
    assert "pip install --no-cache-dir -r requirements.txt" in dockerfile
    names = re.findall(r"^[a-z]+", (SOURCE / "requirements.txt").read_text(), re.MULTILINE)
    assert names == ["accelerate", "torch", "transformers"]


def test_the_readme_names_every_file() -> None:
    readme = (EXAMPLE / "README.md").read_text()
    files = [*SOURCE.glob("*.py"), SOURCE / "Dockerfile", *EXAMPLE.glob("models/*.yaml")]
    assert files
    for file in files:
        assert f"`{file.relative_to(EXAMPLE)}`" in readme
