"""A way to an HTTP server on which requests can be answered otherwise, or kept waiting.

Requests pass unchanged, signatures and all: they are of the address that the client used. A server
that answers for one address alone is told that by ``host``.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tests.servers import Handler, Serving

#: Status, headers and body.
Answer = tuple[int, Mapping[str, str], bytes]
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_PATIENCE = 60.0


@dataclass
class ReverseProxy(Serving):
    """Serves on ``address`` what ``behind``, a host with its port, answers.

    ``instead`` is asked for an answer to a method and a path, None to let it through; it may take
    its time. ``calls`` are the requests that were let through, with their answers' status.
    """

    behind: str
    instead: Callable[[str, str], Answer | None] = lambda _method, _path: None
    address: str = "127.0.0.1"
    host: str | None = None
    calls: list[tuple[str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        proxy = self

        class Passed(_Passed):
            served = proxy

        server = ThreadingHTTPServer((self.address, 0), Passed)
        server.daemon_threads = True  # each waits for the next request of its connection
        self.serve(server)

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}:{self.port}"


class _Passed(Handler):
    protocol_version = "HTTP/1.1"
    served: ReverseProxy

    def _handle(self) -> None:
        body, path = self.body(), unquote(urlsplit(self.path).path)
        instead = self.served.instead(self.command, path)
        if instead is not None:
            status, headers, content = instead
            self._send(status, list(headers.items()), content)
            return
        connection = http.client.HTTPConnection(self.served.behind, timeout=_PATIENCE)
        try:
            passed = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            if self.served.host is not None:
                passed["Host"] = self.served.host
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in {**passed, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            self.served.calls.append((self.command, path, answer.status))
            self._send(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
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
