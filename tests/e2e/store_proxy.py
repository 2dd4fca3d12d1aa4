"""A way to an S3 server on which writes can be refused, or kept waiting.

Requests pass unchanged, signatures and all: they are of the address that the client used.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.cluster.cluster import S3

#: Whether a write to this path is let through. It may take its time.
Allowed = Callable[[str], bool]
_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class StoreProxy:
    """``endpoint`` is what clients are given."""

    def __init__(self, server: ThreadingHTTPServer, address: str, allowed: Allowed) -> None:
        self.endpoint = f"http://{address}:{server.server_address[1]}"
        self._allowed = allowed
        self.refused: list[str] = []

    def refuses(self, method: str, path: str) -> bool:
        """Asked of every request."""
        if method not in ("PUT", "POST", "DELETE") or self._allowed(path):
            return False
        self.refused.append(path)
        return True


@contextmanager
def store_proxy(s3: S3, address: str, allowed: Allowed) -> Iterator[StoreProxy]:
    """Serve on ``address`` until the end of the block."""
    behind = urlsplit(s3.endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if proxy.refuses(self.command, unquote(urlsplit(self.path).path)):
                self._answer(403, [("Content-Type", "application/xml")], _DENIED)
                return
            connection = http.client.HTTPConnection(behind, timeout=60)
            try:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
                connection.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                self._answer(answer.status, answer.getheaders(), answer.read())
            finally:
                connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            length = str(len(body))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer((address, 0), Handler) as server:
        server.daemon_threads = True
        proxy = StoreProxy(server, address, allowed)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
