"""Reports by HTTP to a supervisor, on the loopback address.

A command finds here what Kubeflow Trainer's SDK and the callback of `transformers` post to. The
supervisor takes them itself, so they need no daemon and no other machine. The protocol is one POST
with a bearer token; a connection is closed with its answer.
"""

from __future__ import annotations

import hmac
import secrets
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from reconciler.engine import LONGEST_REPORT

#: Connections at once, and seconds of one.
_MOST = 16
_PATIENCE = 10.0
_LONGEST_HEAD = 16 << 10
_READ = 64 << 10


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    until: float
    data: bytearray = field(default_factory=bytearray)


class ReportListener:
    """A server on 127.0.0.1 for the reports of one run.

    ``take`` gets the body of each report whose token is right.
    """

    def __init__(self, run: str, take: Callable[[bytes], object]) -> None:
        self.token = secrets.token_urlsafe(32)
        self._path = f"/progress/{run}"
        self._take = take
        self._server = socket.create_server(("127.0.0.1", 0), backlog=_MOST)
        self._server.setblocking(False)
        self._connections: dict[int, _Connection] = {}
        self._selector: selectors.BaseSelector | None = None

    @property
    def url(self) -> str:
        """The URL to post to."""
        return f"http://127.0.0.1:{self._server.getsockname()[1]}{self._path}"

    def register(self, selector: selectors.BaseSelector) -> None:
        """Register with a selector; a key's data is a function to call."""
        self._selector = selector
        selector.register(self._server, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Close all connections and the server."""
        for connection in list(self._connections.values()):
            self._end(connection)
        self._server.close()

    def _accept(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections.values()):
            if connection.until < now:
                self._end(connection)
        try:
            taken, _ = self._server.accept()
        except OSError:  # it is gone again
            return
        if len(self._connections) >= _MOST or self._selector is None:
            taken.close()
            return
        taken.setblocking(False)
        connection = _Connection(taken, now + _PATIENCE)
        self._connections[taken.fileno()] = connection
        self._selector.register(taken, selectors.EVENT_READ, lambda: self._read(connection))

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(connection)
            return
        connection.data += data
        status = self._answer(connection.data)
        if status is None:
            return
        if status is HTTPStatus.CONTINUE:
            with suppress(OSError):
                connection.socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        body = f"{status.phrase}\n".encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with suppress(OSError):  # it fits into the buffer of a new connection
            connection.socket.send(head.encode() + body)
        self._end(connection)

    def _answer(self, data: bytearray) -> HTTPStatus | None:
        """Return the answer to a request; None while it is not whole."""
        head, end, body = bytes(data).partition(b"\r\n\r\n")
        if not end:
            too_long = len(head) > _LONGEST_HEAD
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if too_long else None
        request, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = request.partition(" ")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        sent = headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(sent.encode(), self.token.encode()):
            return HTTPStatus.UNAUTHORIZED
        if rest.partition(" ")[0].partition("?")[0] != self._path:
            return HTTPStatus.NOT_FOUND
        if method != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()) or len(length) > 9:
            return HTTPStatus.LENGTH_REQUIRED
        if int(length) > LONGEST_REPORT:
            self._take(b"")
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if len(body) < int(length):
            expects = headers.get("expect", "").lower() == "100-continue" and not body
            return HTTPStatus.CONTINUE if expects else None
        self._take(body[: int(length)])
        return HTTPStatus.OK

    def _end(self, connection: _Connection) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        if self._selector is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(connection.socket)
        connection.socket.close()
