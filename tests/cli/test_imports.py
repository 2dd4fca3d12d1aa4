"""A command starts with what it uses, and nothing else: a list of modules, not a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.site import environment, git

#: Prints the modules that a command has imported at its end, as the last line.
_CALL = """\
import json, sys
from reconciler.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    print("\\n" + json.dumps([ended.code, sorted(sys.modules)]))
"""
MODEL = """\
kind: Model
metadata: {name: m}
spec:
  source: {git: {url: ., path: code}}
  training: {mode: Scratch}
"""

#: The daemon's own parts, and clients of what only some configurations have.
DAEMON = {
    "aiohttp",
    "asyncio",
    "cryptography",
    "jinja2",
    "kubernetes",
    "obstore",
    "prometheus_client",
    "psutil",
    "structlog",
    "watchfiles",
    "reconciler.daemon",
    "reconciler.engines.kubernetes",
    "reconciler.metrics",
    "reconciler.web",
}
READER = DAEMON | {"rich", "reconciler.engines", "reconciler.forge", "reconciler.notify"}
WITHOUT_CONFIG = READER | {
    "reconciler.config.schema",
    "reconciler.planner",
    "reconciler.status",
    "reconciler.workspace",
}
WITHOUT_GIT = WITHOUT_CONFIG | {"pygit2", "ssl", "subprocess"}
NOTHING = WITHOUT_GIT | {
    "msgspec",
    "pydantic",
    "ruamel",
    "reconciler.engine",
    "reconciler.manifests",
    "reconciler.types",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "m.yaml").write_text(MODEL)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "Dockerfile").write_text("FROM python:3.11\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "A model")
    return tmp_path


def imported(folder: Path, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", _CALL, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code in (0, 2), (done.stdout[:500], done.stderr)  # 2: findings
    return set(modules)


def test_modules_are_seen(clone: Path) -> None:
    assert {"pydantic", "pygit2", "reconciler.manifests.schema"} <= imported(clone, "validate")


@pytest.mark.parametrize(
    ("call", "unused"),
    [
        (("--help",), NOTHING),
        (("--version",), NOTHING),
        (("completion", "bash"), NOTHING),
        (("validate", "--help"), WITHOUT_CONFIG),
        (("schema", "model"), WITHOUT_GIT),
        (("init", "new"), NOTHING - {"pygit2", "ssl", "subprocess"}),
        (("validate",), WITHOUT_CONFIG),
        (("validate", "m.yaml"), WITHOUT_CONFIG),
        (("plan", "--base", "HEAD", "--head", "HEAD"), DAEMON | {"rich"}),
        (("status",), DAEMON),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_imports_nothing_that_it_does_not_use(
    clone: Path, call: tuple[str, ...], unused: set[str]
) -> None:
    found = imported(clone, *call)
    assert {name for name in found if any(_is_of(name, package) for package in unused)} == set()


def test_a_configuration_brings_no_more_than_itself(clone: Path) -> None:
    (clone / "reconciler.yaml").write_text("repository: {url: .}\n")
    found = imported(clone, "validate")
    assert "reconciler.config.schema" in found
    assert {name for name in found if any(_is_of(name, package) for package in READER)} == set()


def _is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")
