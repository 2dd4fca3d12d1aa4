"""A way to an S3 server on which writes can be refused, or kept waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.cluster.cluster import S3
from tests.reverse_proxy import Answer, ReverseProxy

#: Whether a write to this path is let through. It may take its time.
Allowed = Callable[[str], bool]
_DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)


class StoreProxy:
    """``endpoint`` is what clients are given, ``refused`` the paths of refused writes."""

    def __init__(self, s3: S3, address: str, allowed: Allowed) -> None:
        self._allowed = allowed
        self.refused: list[str] = []
        self._server = ReverseProxy(urlsplit(s3.endpoint).netloc, self._instead, address)
        self.endpoint = self._server.endpoint

    def _instead(self, method: str, path: str) -> Answer | None:
        if method not in ("PUT", "POST", "DELETE") or self._allowed(path):
            return None
        self.refused.append(path)
        return 403, {"Content-Type": "application/xml"}, _DENIED

    def close(self) -> None:
        self._server.close()


@contextmanager
def store_proxy(s3: S3, address: str, allowed: Allowed) -> Iterator[StoreProxy]:
    """Serve on ``address`` until the end of the block."""
    proxy = StoreProxy(s3, address, allowed)
    try:
        yield proxy
    finally:
        proxy.close()
