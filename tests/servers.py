"""HTTP and TCP servers of tests, each in a thread of its own."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler


class Serving:
    """What has a server: it serves from ``serve`` to ``close``."""

    def serve(self, server: socketserver.TCPServer) -> None:
        self.server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One that writes no line for each request."""

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()  # no trailers
        return b"".join(chunks)

    def answer(
        self, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
