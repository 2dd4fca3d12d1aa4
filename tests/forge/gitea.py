"""A real Gitea on loopback: users, tokens, repositories and protected branches by its API.

It is one for a worker's tests, and each test has a repository of its own in it.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.build import built
from tests.cluster.ports import free
from tests.e2e.site import until
from tests.git.remotes import make_key
from tests.needs import program
from tests.patience import PATIENCE

#: The scopes that docs/review.md asks for.
SCOPES = ("read:user", "write:repository", "write:issue")
_PASSWORD = "pass-Word-123456"


class GiteaError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


@dataclass(frozen=True)
class Gitea:
    """A server that runs: ``repositories`` is the folder of its bare repositories."""

    address: str
    ssh_port: int
    folder: Path
    known_hosts: Path

    @property
    def api(self) -> str:
        return f"http://{self.address}/api/v1"

    def call(self, method: str, path: str, payload: Any = None, *, user: str = "team") -> Any:
        """What the API answers to a user. Raises GiteaError."""
        request = urllib.request.Request(self.api + path, method=method)
        pair = base64.b64encode(f"{user}:{_PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
        if payload is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(payload).encode()
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise GiteaError(error.code, error.read().decode()) from None
        return json.loads(text) if text else None

    def token(self, user: str, *scopes: str) -> str:
        """A new token of a user."""
        payload = {"name": secrets.token_hex(8), "scopes": scopes}
        made: str = self.call("POST", f"/users/{user}/tokens", payload, user=user)["sha1"]
        return made

    def add_user(self, name: str) -> None:
        self.call(
            "POST",
            "/admin/users",
            {
                "username": name,
                "email": f"{name}@example.com",
                "password": _PASSWORD,
                "must_change_password": False,
            },
        )

    def url(self, name: str, *, user: str = "") -> str:
        """The HTTP URL of a repository, with a user's password in it."""
        who = f"{user}:{_PASSWORD}@" if user else ""
        return f"http://{who}{self.address}/{name}.git"


@dataclass(frozen=True)
class GiteaRepository:
    """A repository of ``team``, to which ``bot`` may push; ``guest`` may only read it."""

    gitea: Gitea
    name: str

    @property
    def path(self) -> Path:
        """The bare repository on this disk."""
        return self.gitea.folder / "repositories" / f"{self.name}.git"

    @property
    def ssh_url(self) -> str:
        return f"ssh://git@127.0.0.1:{self.gitea.ssh_port}/{self.name}.git"

    def call(self, method: str, path: str, payload: Any = None, *, user: str = "team") -> Any:
        return self.gitea.call(method, f"/repos/{self.name}{path}", payload, user=user)

    def add_hook(self, url: str, secret: str) -> None:
        """Have pushes and pull requests delivered to a URL."""
        config = {"url": url, "content_type": "json", "secret": secret}
        events = ["push", "pull_request_only", "pull_request_sync"]
        self.call(
            "POST", "/hooks", {"type": "gitea", "config": config, "events": events, "active": True}
        )

    def protect(self, pattern: str, **rules: Any) -> None:
        """Protect branches: nobody pushes, and what else ``rules`` say."""
        self.call("POST", "/branch_protections", {"rule_name": pattern, **rules})

    def fork(self, user: str) -> str:
        """The name of a new fork of a user."""
        self.call("POST", "/forks", {}, user=user)
        return f"{user}/{self.name.partition('/')[2]}"

    # -- pull requests -------------------------------------------------------------------------

    def open(self, branch: str, *, user: str = "team", title: str = "Change") -> int:
        """Open a request to merge a branch, ``user:branch`` of a fork.

        It is refused until the push of the branch has reached Gitea's own tables.
        """
        payload = {"head": branch, "base": "main", "title": title}
        number: int = patiently(lambda: self.call("POST", "/pulls", payload, user=user))["number"]
        return number

    def close(self, number: int) -> None:
        self.call("PATCH", f"/pulls/{number}", {"state": "closed"})

    def merge(self, number: int, *, delete: bool = False) -> None:
        """Merge a request; Gitea wants to have checked for conflicts before."""
        payload = {"Do": "merge", "delete_branch_after_merge": delete}
        patiently(lambda: self.call("POST", f"/pulls/{number}/merge", payload), 405)

    def delete_branch(self, branch: str) -> None:
        self.call("DELETE", f"/branches/{branch}")

    def requests(self) -> list[dict[str, Any]]:
        """All requests, the oldest first."""
        found: list[dict[str, Any]] = self.call("GET", "/pulls?state=all&sort=oldest")
        return found

    def comments(self, number: int, user: str = "bot") -> list[dict[str, Any]]:
        """The comments of a user."""
        found = self.call("GET", f"/issues/{number}/comments")
        return [comment for comment in found if comment["user"]["login"] == user]

    def bodies(self, number: int) -> list[str]:
        return [comment["body"] for comment in self.comments(number)]

    def statuses(self, commit: str) -> list[tuple[str, str, str]]:
        """Context, state and author of all statuses of a commit, the newest first."""
        found = self.call("GET", f"/commits/{commit}/statuses?sort=recentupdate")
        return [(each["context"], each["status"], each["creator"]["login"]) for each in found]


def patiently(call: Callable[[], Any], *also: int) -> Any:
    """Repeat a call while Gitea has not noticed what was pushed (404), or with these answers."""
    answers: list[Any] = []

    def done() -> bool:
        try:
            answers.append(call())
        except GiteaError as error:
            if error.status not in (404, *also):
                raise
        return bool(answers)

    until(done, what="Gitea to notice a push")
    return answers[0]


# -- running it --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def gitea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    """A Gitea with the users ``team``, an administrator, ``bot`` and ``guest``."""
    with running_gitea(tmp_path_factory.mktemp("gitea")) as found:
        yield found


@contextmanager
def running_gitea(folder: Path) -> Iterator[Gitea]:
    """Start a Gitea in a folder, and end it after the block."""
    binary = built("gitea").get("gitea")
    if binary is None:
        pytest.skip("Gitea is not built: make test-gitea")
    program("ssh-keygen", package="openssh-client")
    http, ssh = free(2)
    make_key(folder / "host")
    (folder / "app.ini").write_text(_configuration(folder, binary.parent, http, ssh))
    kind, key, *_ = (folder / "host.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{ssh} {kind} {key}\n")
    found = Gitea(f"127.0.0.1:{http}", ssh, folder, folder / "known_hosts")
    options = ["--config", str(folder / "app.ini"), "--work-path", str(folder)]
    environment = _environment(folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(binary), "web", *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            start_new_session=True,  # its git commands end with it
        )
    try:
        until(lambda: _answers(found, process, folder / "log"), what="Gitea")
        _make_admin([str(binary), "admin", "user", "create", *options], environment)
        for name in ("bot", "guest"):
            found.add_user(name)
        yield found
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(gitea: Gitea, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"Gitea ended: {log.read_text()[-2000:]}"
    try:
        with urllib.request.urlopen(f"{gitea.api}/version", timeout=PATIENCE):
            return True
    except OSError:
        return False


def _make_admin(command: list[str], environment: dict[str, str]) -> None:
    options = ["--username=team", "--email=team@example.com", f"--password={_PASSWORD}"]
    done = subprocess.run(
        [*command, *options, "--admin", "--must-change-password=false"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _environment(folder: Path) -> dict[str, str]:
    """A home without a developer's settings of Git."""
    kept = ("PATH", "LANG", "TMPDIR")
    known = {name: os.environ[name] for name in kept if name in os.environ}
    return {**known, "HOME": str(folder), "TMPDIR": tempfile.gettempdir()}


def _configuration(folder: Path, static: Path, http: int, ssh: int) -> str:
    # The first line is for root, as whom tests run in CI; its hooks read it too.
    return f"""\
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = {str(os.geteuid() == 0).lower()}
RUN_MODE = prod
WORK_PATH = {folder}

[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {http}
ROOT_URL = http://127.0.0.1:{http}/
STATIC_ROOT_PATH = {static}
OFFLINE_MODE = true
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_DOMAIN = 127.0.0.1
SSH_LISTEN_HOST = 127.0.0.1
SSH_LISTEN_PORT = {ssh}
SSH_SERVER_HOST_KEYS = {folder / "host"}

[database]
DB_TYPE = sqlite3
PATH = {folder / "gitea.db"}

[repository]
ROOT = {folder / "repositories"}

[security]
INSTALL_LOCK = true
SECRET_KEY = {secrets.token_hex(20)}

[service]
DISABLE_REGISTRATION = true

[webhook]
ALLOWED_HOST_LIST = loopback

[log]
LEVEL = warn

[indexer]
ISSUE_INDEXER_TYPE = db

[cron.update_checker]
ENABLED = false

[actions]
ENABLED = false

[picture]
DISABLE_GRAVATAR = true
"""
