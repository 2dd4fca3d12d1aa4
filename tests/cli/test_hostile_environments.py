"""Every command in environments that nobody wishes for: no traceback, and an exit code of ours."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from reconciler.cli import COMMANDS
from tests.cli.conftest import Cli, command

MODEL = """\
kind: Model
metadata: {name: m, labels: {team: a}}
spec:
  source: {git: {url: ., path: code}}
  training: {mode: Scratch, params: {größe: "→ 🚀"}}
  suspend: true
"""
WRONG = MODEL.replace("name: m,", "name: n,").replace("  suspend", "  größe→🚀: 1\n  suspend")
CONFIG = "repository: {url: .}\nserver: {address: ''}\n"
CALLS = [
    "init NEW",
    "run --once",
    "status",
    "status --format json",
    "why n",
    "logs m",
    "retry m",
    "retry m --commit",
    "suspend m",
    "resume m --dry-run",
    "cancel m --dry-run",
    "cancel m --now",
    "accept m",
    "compare",
    "compare --format csv",
    "artifacts",
    "verify m",
    "get m NEW",
    "plan",
    "plan --base HEAD~1 --head HEAD",
    "plan --base HEAD~1 --head HEAD --format json",
    "render m",
    "validate",
    "validate -",
    "schema model",
    "completion bash",
]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that was synced once, with an error that no ASCII can say."""
    root = tmp_path_factory.mktemp("origin")
    (root / "code").mkdir()
    (root / "code" / "Dockerfile").write_text("FROM python:3.11\n")
    (root / "m.yaml").write_text(MODEL)
    (root / "reconciler.yaml").write_text(CONFIG)
    (root / ".gitignore").write_text("state/\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    for setting in (("user.name", "Ada"), ("user.email", "ada@example.com")):
        git(root, "config", *setting)
    for text in (MODEL, WRONG):
        (root / ("n.yaml" if text == WRONG else "m.yaml")).write_text(text)
        (root / os.fsdecode(b"caf\xe9.yaml")).write_text("on: push\n")
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--allow-empty", "--message", "A change")
    done = subprocess.run(
        command("run", "--once"), cwd=root, env=plain(), capture_output=True, check=False
    )
    assert b"m" in done.stdout, done.stderr
    return root


def plain(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "HOME": "/nonexistent", **more}


#: Variables of each environment; None takes one away.
ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "a terminal in Latin-1, in a Git hook": {
        "PYTHONIOENCODING": "latin-1",
        "LANG": "de_DE",
        "GIT_DIR": "/nonexistent/.git",
        "GIT_INDEX_FILE": "/nonexistent/index",
        "GIT_WORK_TREE": "/nonexistent",
    },
    "a terminal in ASCII and no home": {"PYTHONIOENCODING": "ascii", "HOME": None, "LC_ALL": "C"},
    "a locale without an encoding": {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "TZ": "Nowhere/At/All",
        "TMPDIR": "/nonexistent",
        "COLUMNS": "wide",
        "LINES": "-1",
        "TERM": "none",
    },
    "without git": {"PATH": "/nonexistent"},
}


#: What the commands read from standard input.
INPUT = b"kind: Model\ncaf\xe9: 1\n"
#: Calls commands in forks of one process: each as if it had just been started with that environment
#: and all is imported, which takes longer than the commands. Prints their exit codes.
FORKS = """\
import gc, json, os, sys
from importlib import import_module
from reconciler.cli import COMMANDS, main
for name in COMMANDS:
    import_module(f"reconciler.cli.{name}")
gc.freeze()  # else each fork copies and looks through all of it at its end: 0.3 s
folder, calls = sys.argv[1], json.loads(sys.argv[2])
codes = []
for number, call in enumerate(calls):
    pid = os.fork()
    if pid == 0:
        new = os.O_CREAT | os.O_WRONLY
        os.dup2(os.open(f"{folder}/in", os.O_RDONLY), 0)
        os.dup2(os.open(f"{folder}/out-{number}", new), 1)
        os.dup2(os.open(f"{folder}/err-{number}", new), 2)
        main(call)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.write(1, json.dumps(codes).encode())
"""


def environment(variables: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in {**plain(), **variables}.items() if value is not None}


def run_all(
    folder: Path,
    *,
    calls: Sequence[str] = CALLS,
    wrap: str = '"$@"',
    variables: Mapping[str, str | None] = MappingProxyType({}),
) -> list[str]:
    """Call commands; return those that end in a traceback, or with an exit code of others."""
    wrong = []
    for call in calls:
        done = subprocess.run(
            ["/bin/sh", "-c", wrap, "sh", *command(), *shlex.split(call)],
            cwd=folder,
            env=environment(variables),
            input=INPUT,
            capture_output=True,
            check=False,
        )
        wrong += faults(call, done.returncode, done.stderr)
    return wrong


def fork_all(
    folder: Path,
    *,
    wrap: str = '"$@"',
    variables: Mapping[str, str | None] = MappingProxyType({}),
    output: Path,
) -> list[str]:
    """Call all commands in forks of one process; return as ``run_all`` does."""
    output.mkdir()
    (output / "in").write_bytes(INPUT)
    calls = json.dumps([shlex.split(call) for call in CALLS])
    done = subprocess.run(
        ["/bin/sh", "-c", wrap, "sh", sys.executable, "-c", FORKS, str(output), calls],
        cwd=folder,
        env=environment(variables),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    wrong = []
    for number, (call, code) in enumerate(zip(CALLS, codes, strict=True)):
        wrong += faults(call, code, (output / f"err-{number}").read_bytes())
    return wrong


def faults(call: str, code: int, errors: bytes) -> list[str]:
    told = errors.decode("utf-8", "replace")
    fine = "Traceback" not in told and "Exception ignored" not in told and code in (0, 1, 2, 64)
    return [] if fine else [f"{call}: exit code {code}\n{told}"]


def test_json_stays_json_in_any_encoding(cli: Cli) -> None:
    cli("completion", "bash")
    text = json.dumps("größe → 🚀 \udce9", ensure_ascii=False)
    assert json.loads(text.encode("ascii", "reconciler")) == json.loads(text)


def test_every_command_is_called() -> None:
    assert {call.split()[0] for call in CALLS} == set(COMMANDS)


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-a", str(origin), str(tmp_path / "clone")], check=True)
    return tmp_path / "clone"


@pytest.mark.parametrize("variables", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_no_variable_ends_a_command_in_a_traceback(
    clone: Path, variables: dict[str, str | None], tmp_path: Path
) -> None:
    assert run_all(clone, calls=["status"], variables=variables) == []
    assert fork_all(clone, variables=variables, output=tmp_path / "said") == []


@pytest.mark.parametrize(
    "wrap", ['exec "$@" >&- <&-', 'exec "$@" > /dev/full', '"$@" | true'], ids=str
)
def test_no_closed_or_full_output_ends_a_command_in_a_traceback(clone: Path, wrap: str) -> None:
    calls = ["status", "plan --base HEAD~1 --head HEAD", "validate -", "schema model"]
    assert run_all(clone, calls=calls, wrap=wrap) == []


def no_commit(folder: Path) -> None:
    git(folder, "checkout", "--quiet", "--orphan", "unborn")


def bare(folder: Path) -> None:
    git(folder, "config", "core.bare", "true")


def no_repository(folder: Path) -> None:
    (folder / ".git").rename(folder / "elsewhere")


def damaged(folder: Path) -> None:
    (folder / ".git" / "HEAD").write_bytes(b"\xff\n")


def git_configuration(folder: Path) -> None:
    (folder / ".git" / "config").write_bytes(b"[caf\xe9\n")


def configuration(folder: Path) -> None:
    (folder / "reconciler.yaml").write_bytes(b"repository: caf\xe9\n")


def configuration_folder(folder: Path) -> None:
    (folder / "reconciler.yaml").unlink()
    (folder / "reconciler.yaml").mkdir()


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder / "state")
    (folder / "state").write_text("no folder")


@pytest.mark.parametrize(
    "change",
    [
        no_commit, bare, no_repository, damaged, git_configuration, configuration,
        configuration_folder, no_folder,
    ],
)  # fmt: skip
def test_no_repository_or_file_ends_a_command_in_a_traceback(
    clone: Path, change: Callable[[Path], None], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(clone)
    monkeypatch.chdir(clone)
    assert run_all(clone, calls=["run --once"]) == []
    for call in CALLS:
        if call not in ("run --once", "validate -"):
            said = cli(*shlex.split(call))
            assert said.code in (0, 1, 2, 64), call


def test_a_folder_that_is_gone_ends_no_command_in_a_traceback(tmp_path: Path) -> None:
    gone = 'mkdir "$0.gone" && cd "$0.gone" && rmdir "$0.gone" && exec "$@"'
    wrap = gone.replace("$0.gone", str(tmp_path / "gone"))
    assert run_all(tmp_path, calls=["status"], wrap=wrap) == []
    assert fork_all(tmp_path, wrap=wrap, output=tmp_path / "said") == []
