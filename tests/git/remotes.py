"""Real Git servers on this machine: a folder, smart HTTP, and an sshd of our own.

Each serves the bare repositories of one folder, on a free port of the loopback interface, and is
gone when its ``close`` returns: processes by their ids, threads by being joined.
"""

from __future__ import annotations

import base64
import getpass
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from reconciler.git.credentials import Credential, CredentialTable
from tests.e2e.site import git
from tests.servers import Handler, Serving

SSHD = Path("/usr/sbin/sshd")


class Remote(Protocol):
    """A server of the bare repositories in ``root``."""

    root: Path

    def url(self, name: str) -> str: ...

    def credentials(self) -> CredentialTable: ...

    def close(self) -> None: ...


def make_bare(root: Path, name: str = "a.git") -> Path:
    """A new and empty repository that may be pushed to."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    git(root, "init", "--quiet", "--bare", "--initial-branch=main", str(path))
    git(path, "config", "http.receivepack", "true")
    return path


@dataclass
class FileRemote:
    root: Path

    def url(self, name: str) -> str:
        return (self.root / name).as_uri()

    def credentials(self) -> CredentialTable:
        return CredentialTable()

    def close(self) -> None:
        pass


@dataclass
class HttpRemote(Serving):
    """``git http-backend`` behind an HTTP server; what it does can be changed at any time.

    ``password`` (user, password) is asked for where it is set. ``redirect`` maps a request's path
    to a Location, ``answer`` to a status and a text. ``before`` is called with each path first.
    """

    root: Path
    certificate: tuple[Path, Path] | None = None
    password: tuple[str, str] | None = None
    redirect: Callable[[str], str | None] = lambda _: None
    before: Callable[[str], None] = lambda _: None
    answer: Callable[[str], tuple[int, str] | None] = lambda _: None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        remote = self

        class Bridge(_CgiHandler):
            served = remote

        server = ThreadingHTTPServer((self.address, 0), Bridge)
        server.daemon_threads = False
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.serve(server)

    @property
    def origin(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{self.address}:{self.port}"

    def url(self, name: str) -> str:
        return f"{self.origin}/{name}"

    def credentials(self) -> CredentialTable:
        ca_file = self.certificate[0] if self.certificate else None
        if self.password is None:
            return CredentialTable(ca_file=ca_file)
        file = self.root.parent / "password"
        file.write_text(f"{self.password[1]}\n")
        credential = Credential(prefix=self.origin, username=self.password[0], password_file=file)
        return CredentialTable([credential], ca_file=ca_file)


class _CgiHandler(Handler):
    served: HttpRemote

    def do_GET(self) -> None:  # noqa: N802 -- as it must be called
        self._serve(b"")

    def do_POST(self) -> None:  # noqa: N802 -- as it must be called
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
        else:
            body = self.body()
        self._serve(body)

    def _serve(self, body: bytes) -> None:
        remote, authorization = self.served, self.headers.get("Authorization")
        remote.requests.append((self.path, authorization))
        remote.before(self.path)
        location = remote.redirect(self.path)
        if location is not None:
            self.answer(301, [("Location", location)])
        elif (answer := remote.answer(self.path)) is not None:
            self.answer(answer[0], [("Content-Type", "text/plain")], answer[1].encode())
        elif remote.password is not None and authorization != _basic(*remote.password):
            self.answer(401, [("WWW-Authenticate", 'Basic realm="git"')])
        else:
            self._bridge(body)

    def _bridge(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.served.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(headers.pop("Status", "200 OK").split()[0])
        self.answer(status, headers.items(), content)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address that is its own authority, and its key."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = False
    request_queue_size = 64


class SshRemote(Serving):
    """One sshd per connection, as inetd would start it, with its own keys; nobody else's apply."""

    def __init__(self, root: Path, *, address: str = "127.0.0.1") -> None:
        self.root = root
        self.address = address
        self.keys = root.parent / "ssh"
        self.keys.mkdir()
        Path("/run/sshd").mkdir(exist_ok=True)
        for name in ("host", "client"):
            make_key(self.keys / name)
        shutil.copy(self.keys / "client.pub", self.keys / "authorized_keys")
        self.configure()
        remote = self

        class Talk(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                remote._serve(self.request)

        self._children: set[subprocess.Popen[bytes]] = set()
        self.serve(_TcpServer((address, 0), Talk))
        self.trust()

    def configure(self, *more: str) -> None:
        """Write sshd's configuration, with these lines in it."""
        lines = [
            f"HostKey {self.keys}/host",
            f"AuthorizedKeysFile {self.keys}/authorized_keys",
            "StrictModes no", "UsePAM no", "PasswordAuthentication no", "PermitRootLogin yes",
            "KbdInteractiveAuthentication no", "PidFile none", "LogLevel ERROR", *more,
        ]  # fmt: skip
        (self.keys / "sshd_config").write_text("\n".join(lines) + "\n")

    def trust(self) -> None:
        """Write the host key that the server has now as the known one."""
        kind, key, *_ = (self.keys / "host.pub").read_text().split()
        (self.keys / "known_hosts").write_text(f"[{self.address}]:{self.port} {kind} {key}\n")

    def _serve(self, connection: socket.socket) -> None:
        command = [str(SSHD), "-i", "-e", "-f", str(self.keys / "sshd_config")]
        with (self.keys / "log").open("ab") as log:
            there = connection.fileno()
            child = subprocess.Popen(command, stdin=there, stdout=there, stderr=log)
        self._children.add(child)
        child.wait()

    def url(self, name: str) -> str:
        return f"ssh://{getpass.getuser()}@{self.address}:{self.port}{self.root / name}"

    def credentials(self) -> CredentialTable:
        return CredentialTable([self.credential()])

    def credential(self, *, key: str = "client") -> Credential:
        return Credential(
            prefix=f"ssh://{self.address}:{self.port}",
            ssh_key_file=self.keys / key,
            known_hosts_file=self.keys / "known_hosts",
        )

    def close(self) -> None:
        self.server.shutdown()
        for child in self._children:
            if child.poll() is None:
                child.kill()
        super().close()


def make_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)


class BadServer(Serving):
    """Takes connections, and on each says what ``talk`` says, or nothing, until it is closed."""

    def __init__(self, talk: Callable[[socket.socket, threading.Event], None]) -> None:
        self._closing = threading.Event()
        bad = self

        class Talk(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    talk(self.request, bad._closing)
                except OSError:
                    return  # the other side has given up
                bad._closing.wait()

        self.serve(_TcpServer(("127.0.0.1", 0), Talk))

    def close(self) -> None:
        self._closing.set()
        super().close()
