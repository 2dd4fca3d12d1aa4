"""A whole installation in a folder: a repository to push to, a clone to work in, a daemon.

The daemon and ``run --once`` are the real command, in forks of a process that has imported it
(``tests/command_server.py``). Every command that a run executes writes a
line to one file outside everything the daemon knows, so a test can count what really ran.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pygit2
from ruamel.yaml import YAML

from tests.command_server import Running, run_command, start_command
from tests.patience import PATIENCE
from tests.processes import run

GOOD = 'echo good > "$MODEL_DIR/weights"\n'

#: What a source's scripts begin with: say that they ran, exactly once a start.
_PREAMBLE = (
    '#!/bin/sh\nset -eu\nprintf "%s\\n" "$SITE_NAME $ATTEMPT ${MODEL_DIR##*/}" >> "$SITE_LEDGER"\n'
)


@dataclass
class Site:
    """``root`` holds ``manifests.git``, the clone ``work``, and ``reconciler.yaml``."""

    root: Path

    def __post_init__(self) -> None:
        self.remote = self.root / "manifests.git"
        self.work = self.root / "work"
        self.branch = BRANCH
        self.ledger = self.root / "ledger"
        self.ledger.touch()
        git(self.root, "init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        git(self.root, "clone", "--quiet", str(self.remote), str(self.work), quiet=True)
        git(self.work, "checkout", "--quiet", "-B", "main")
        self.configure()

    def configure(self, **sections: Any) -> None:
        """Write the configuration, with these sections in it."""
        config: dict[str, Any] = {
            "repository": {"url": "./manifests.git", "interval": "1s"},
            "status": {"interval": "0.2s"},
            "local": {"slots": 4},
            "server": {"address": ""},
        }
        for name, section in sections.items():
            known = config.get(name, {})
            config[name] = {**known, **section} if isinstance(section, Mapping) else section
        (self.root / "reconciler.yaml").write_text(json.dumps(config))

    def configure_more(self, **sections: Any) -> None:
        """Add sections to the configuration."""
        file = self.root / "reconciler.yaml"
        file.write_text(json.dumps({**json.loads(file.read_text()), **sections}))

    def configure_section(self, name: str, **values: Any) -> None:
        """Change values of a section of the configuration."""
        known = json.loads((self.root / "reconciler.yaml").read_text()).get(name, {})
        self.configure_more(**{name: {**known, **values}})

    # -- working in the clone ----------------------------------------------------------------

    def write(self, path: str, text: str, *, executable: bool = False) -> None:
        file = self.work / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if executable:
            file.chmod(0o755)

    def script(self, path: str, body: str = "") -> None:
        """A command of a source: it says that it ran, and does what the test wants."""
        self.write(path, _PREAMBLE + body, executable=True)

    def remove(self, path: str) -> None:
        (self.work / path).unlink()

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.work / path).read_text()
        assert old in text, f"{old!r} is not in {path}"
        (self.work / path).write_text(text.replace(old, new))

    def push(self, message: str = "Change") -> str:
        """Commit everything and push it; returns the commit."""
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--allow-empty", "--message", message)
        git(self.work, "push", "--quiet", "origin", "main")
        return git(self.work, "rev-parse", "HEAD").strip()

    def propose(self, ref: str, message: str = "Change") -> str:
        """Commit everything and push it as a ref of the remote alone; returns the commit."""
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--allow-empty", "--message", message)
        git(self.work, "push", "--quiet", "--force", "origin", f"HEAD:{ref}")
        return git(self.work, "rev-parse", "HEAD").strip()

    def env(self, name: str) -> str:
        """The ``env`` of a manifest's section, as YAML: what the preamble needs."""
        return json.dumps({"SITE_LEDGER": str(self.ledger), "SITE_NAME": name})

    def trained(self, name: str, body: str = GOOD, **manifest: Any) -> None:
        """A Model from Scratch, with the script that trains it."""
        self.script(f"src/{name}/train.sh", body)
        self.scratch(name, **manifest)

    def scratch(
        self, name: str, *, params: Mapping[str, Any] | None = None, more: str = ""
    ) -> None:
        """A Model that is trained from Scratch by ``src/<name>/train.sh``."""
        self.write(
            f"{name}.yaml",
            f"kind: Model\nmetadata: {{name: {name}}}\nspec:\n"
            f"  source: {{git: {{url: ., path: src/{name}}}}}\n"
            f"  training:\n    mode: Scratch\n    params: {json.dumps(dict(params or {}))}\n"
            f"    env: {self.env(name)}\n{more}",
        )

    def finetune(self, name: str, base: str, *, params: Mapping[str, Any] | None = None) -> None:
        """A Model that is trained off a base, in the base's image."""
        self.write(
            f"{name}.yaml",
            f"kind: Model\nmetadata: {{name: {name}}}\nspec:\n"
            f"  source: {{model: {{name: {base}}}}}\n"
            f"  training:\n    params: {json.dumps(dict(params or {}))}\n"
            f"    env: {self.env(name)}\n",
        )

    # -- what happened -----------------------------------------------------------------------

    def ran(self) -> Counter[str]:
        """How often each object's command was started since the last call."""
        lines = self.ledger.read_text().splitlines()
        self.ledger.write_text("")
        return Counter(line.split()[0] for line in lines)

    def told(self, name: str) -> str:
        """What the status of an object says: its phase and its message."""
        status = self.statuses().get(name, {})
        return f"{status.get('phase')}: {status.get('message')}"

    def artifact(self, name: str) -> Path:
        """The folder of an object's current artifact."""
        return Path(unquote(urlsplit(self.statuses()[name]["artifact"]["url"]).path))

    def started(self) -> Counter[tuple[str, str]]:
        """How often each object's command was started at each key, since the beginning."""
        lines = [line.split() for line in self.ledger.read_text().splitlines()]
        return Counter((name, key) for name, _, key in lines)

    def statuses(self) -> dict[str, dict[str, Any]]:
        """The status of every object by name, from the status branch of the remote."""
        # In this process, as tests that wait for a status ask for it again and again.
        repository = pygit2.Repository(self.remote)
        reference = repository.references.get(f"refs/heads/{self.branch}")
        if reference is None:
            return {}
        tree = reference.peel(pygit2.Tree)
        files = _documents(entry for entry in tree if entry.name not in ("removed", "sync.yaml"))
        return {document["metadata"]["name"]: document["status"] for document in files}

    def show(self, path: str) -> str:
        """A file of the status branch."""
        return git(self.remote, "show", f"{self.branch}:{path}")

    def phases(self) -> dict[str, str]:
        return {name: status["phase"] for name, status in self.statuses().items()}

    # -- the daemon --------------------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        config = str(self.root / "reconciler.yaml")
        return [sys.executable, "-m", "reconciler", *arguments, "--config", config]

    def call(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself; a traceback is never an answer."""
        command = [*arguments, "--config", str(self.root / "reconciler.yaml")]
        done = run_command(command, timeout=PATIENCE, env=environment(), cwd=cwd)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run_once(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``run --once``."""
        return self.call("run", "--once", *arguments)

    def sync(self, message: str = "Change") -> subprocess.CompletedProcess[str]:
        """Push what was changed, and sync it once."""
        self.push(message)
        return self.run_once()

    def start(self) -> Running:
        """The daemon, in the background; its log goes to ``daemon.log``."""
        arguments = ["run", "--config", str(self.root / "reconciler.yaml")]
        return start_command(arguments, env=environment(), log=self.root / "daemon.log")

    @contextmanager
    def running(self) -> Iterator[Running]:
        """The daemon, for as long as the block."""
        daemon = self.start()
        try:
            yield daemon
        finally:
            stop(daemon, signal.SIGKILL)

    def log(self) -> str:
        return (self.root / "daemon.log").read_text()


BRANCH = "reconciler/status/local"


def _documents(entries: Iterable[pygit2.Object]) -> Iterator[dict[str, Any]]:
    """The status files among entries of the status branch, and below them."""
    for entry in entries:
        if isinstance(entry, pygit2.Tree):
            yield from _documents(entry)
        elif isinstance(entry, pygit2.Blob) and str(entry.name).endswith(".yaml"):
            yield YAML(typ="safe").load(entry.data)


def environment() -> dict[str, str]:
    """The test's environment, without a configuration that a developer may have set."""
    hidden = ("RECONCILER_", "GITHUB_", "PYTHONDONTWRITEBYTECODE")
    return {k: v for k, v in os.environ.items() if not k.startswith(hidden)}


def git(folder: Path, *arguments: str, quiet: bool = False) -> str:
    """Run git in a folder, as a user with no configuration of his own."""
    settings = ("user.name=Test", "user.email=test@localhost", "commit.gpgsign=no")
    options = [option for setting in settings for option in ("-c", setting)]
    done = run(["git", "-C", str(folder), *options, *arguments])
    assert quiet or done.returncode == 0, done.stderr
    return done.stdout


def hook(repository: Path, name: str, script: str) -> None:
    """Have a repository run a shell script at some event."""
    file = repository / "hooks" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def until(condition: Callable[[], object], *, what: str, patience: float = PATIENCE) -> None:
    """Wait for something that is going to happen; fail if it does not."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience:g} s for {what}"
        time.sleep(0.05)


def stop(daemon: Running, number: int = signal.SIGTERM) -> int:
    """End a daemon that this test started."""
    if daemon.poll() is None:
        daemon.send_signal(number)
    return daemon.wait(PATIENCE)
