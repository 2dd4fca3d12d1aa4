"""A way to an S3 server on which writes can be refused, put off, or kept waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.cluster.cluster import S3
from tests.reverse_proxy import Answer, ReverseProxy

#: Whether a write to this path is let through. It may take its time.
Allowed = Callable[[str], bool]
Refusal = Callable[[str], int]
_CODES = {403: "AccessDenied", 503: "SlowDown"}


class StoreProxy:
    """``endpoint`` is what clients are given, ``refused`` the paths of refused writes.

    ``refusal`` is the status of the answer to each of these: 403 means never, 503 not now.
    """

    def __init__(
        self, s3: S3, address: str, allowed: Allowed, refusal: Refusal = lambda _: 403
    ) -> None:
        self._allowed, self._refusal = allowed, refusal
        self.refused: list[str] = []
        self._server = ReverseProxy(urlsplit(s3.endpoint).netloc, self._instead, address)
        self.endpoint = self._server.endpoint

    def _instead(self, method: str, path: str) -> Answer | None:
        if method not in ("PUT", "POST", "DELETE") or self._allowed(path):
            return None
        self.refused.append(path)
        status = self._refusal(path)
        code = _CODES[status]
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'
        return status, {"Content-Type": "application/xml"}, body.encode()

    def close(self) -> None:
        self._server.close()


@contextmanager
def store_proxy(
    s3: S3, address: str, allowed: Allowed, refusal: Refusal = lambda _: 403
) -> Iterator[StoreProxy]:
    """Serve on ``address`` until the end of the block."""
    proxy = StoreProxy(s3, address, allowed, refusal)
    try:
        yield proxy
    finally:
        proxy.close()
