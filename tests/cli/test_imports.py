"""A command starts with what it uses, and nothing else: a list of modules, not a time."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

from reconciler.manifests import Section
from tests.e2e.site import environment, git
from tests.processes import run

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
#: The parts of the planner that plan. The configuration has the planner's defaults.
PLANNING = {
    "reconciler.planner.diff",
    "reconciler.planner.object_status",
    "reconciler.planner.plan",
    "reconciler.planner.task_graph",
    "reconciler.workspace.commit_planner",
}
REMOTES = {"reconciler.git.sources", "reconciler.git.transport", "reconciler.git.status_branch"}
WITHOUT_GIT = WITHOUT_CONFIG | {"pygit2", "ssl", "subprocess"}
NOTHING = WITHOUT_GIT | {
    "msgspec",
    "pydantic",
    "ruamel",
    "reconciler.engine",
    "reconciler.manifests",
    "reconciler.types",
}


STATUS = (
    DAEMON
    | REMOTES
    | (PLANNING - {"reconciler.planner.object_status"})
    | {
        "reconciler.engines",
        "reconciler.forge",
        "reconciler.manifests.schema",
        "reconciler.notify",
        "reconciler.review.report",
        "rich.live",
    }
)


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
    call = [sys.executable, "-c", _CALL, *arguments]
    done = run(call, cwd=folder, env=environment(), check=True)
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
        (("status",), STATUS),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_imports_nothing_that_it_does_not_use(
    clone: Path, call: tuple[str, ...], unused: set[str]
) -> None:
    found = imported(clone, *call)
    assert {name for name in found if any(_is_of(name, package) for package in unused)} == set()


@pytest.mark.parametrize(
    ("command", "unused"),
    [("validate", READER | PLANNING | REMOTES), ("status", STATUS)],
)
def test_a_configuration_brings_no_more_than_itself(
    clone: Path, command: str, unused: set[str]
) -> None:
    (clone / "reconciler.yaml").write_text("repository: {url: .}\n")
    found = imported(clone, command)
    assert "reconciler.config.schema" in found
    assert {name for name in found if any(_is_of(name, package) for package in unused)} == set()


def test_sections_that_a_configuration_does_not_have_build_no_validators(clone: Path) -> None:
    (clone / "reconciler.yaml").write_text("repository: {url: .}\nguard: {tasks: 2}\n")
    built = run([sys.executable, "-c", _BUILT], cwd=clone, env=environment(), check=True).stdout
    assert set(built.split()) == {"Config", "GuardSection"}


#: Prints the sections with a validator after the configuration was read.
_BUILT = """\
import os
from pathlib import Path
from reconciler.config import load_setup
from reconciler.manifests import Section
load_setup(Path("reconciler.yaml"), os.environ)
print(*(each.__name__ for each in Section.__subclasses__() if each.__pydantic_complete__))
"""


def test_annotations_of_sections_are_no_texts_that_pydantic_has_to_evaluate() -> None:
    import_module("reconciler.config.schema")
    import_module("reconciler.manifests.schema")
    sections = [each for each in Section.__subclasses__() if each.__module__.startswith("reconc")]
    assert len(sections) > 40
    texts = {
        section.__name__
        for section in sections
        for annotation in section.__annotations__.values()
        if isinstance(annotation, str)
    }
    assert texts == set()


#: Runs a command as the program does, with something to do at the end, and maybe a thread.
_PROGRAM = """\
import atexit, sys, threading
from reconciler.cli import program
atexit.register(print, "the end")
if sys.argv.pop(1) == "threads":
    threading.Thread(target=threading.main_thread().join).start()
program()
"""


@pytest.mark.parametrize("others", ["alone", "threads"])
def test_a_program_ends_at_once_but_for_threads(clone: Path, others: str) -> None:
    call = [sys.executable, "-c", _PROGRAM, others, "validate", "lost.yaml"]
    ended = run(call, cwd=clone, env=environment())
    assert ended.returncode == 64
    assert "error: Invalid value: there is no file or folder lost.yaml\n" in ended.stderr
    assert ended.stdout == ("the end\n" if others == "threads" else "")


def _is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")
