"""A small client of an API server: JSON in, JSON out, and nothing between a test and the wire.

The program under test has a client of its own; a test that looked through the same one would
believe its mistakes.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.cluster.certificates import Pair
from tests.patience import PATIENCE

Object = Mapping[str, Any]
T = TypeVar("T")
#: How often a test looks, while it waits (seconds).
_LOOK = 0.05


class ApiError(Exception):
    """An answer of 400 or above."""

    def __init__(self, request: str, status: int, body: str) -> None:
        super().__init__(f"{request}: {status} {body[:2000]}")
        self.status = status


class Api:
    """Speaks to ``server`` as ``user``, or as whom ``token`` is for.

    One connection per request: it is as good after a fork, in a thread, and after a restart of the
    server as before.
    """

    def __init__(
        self, server: str, ca: str, user: Pair | None = None, *, token: str | None = None
    ) -> None:
        self._server = urlsplit(server)
        self.context = ssl.create_default_context(cafile=ca)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if user is not None:
            self.context.load_cert_chain(user.certificate, user.key)

    def text(self, method: str, path: str, body: Object | None = None) -> str:
        """The answer to one request. Raises `ApiError`, or `OSError` where none came."""
        connection = http.client.HTTPSConnection(
            self._server.hostname or "", self._server.port, timeout=10, context=self.context
        )
        try:
            patch = method == "PATCH"
            kind = "application/merge-patch+json" if patch else "application/json"
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": kind, **self._headers})
            response = connection.getresponse()
            answer = response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise ApiError(f"{method} {path}", response.status, answer)
        return answer

    def request(self, method: str, path: str, body: Object | None = None) -> Any:
        return json.loads(self.text(method, path, body))

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def find(self, path: str) -> Any | None:
        """The object, or None where there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def items(self, path: str) -> list[Any]:
        items: list[Any] = self.get(path)["items"]
        return items

    def create(self, path: str, body: Object) -> Any:
        return self.request("POST", path, body)

    def delete(self, path: str, *, propagation: str = "Background") -> None:
        self.request("DELETE", f"{path}?propagationPolicy={propagation}")

    def answers(self, path: str = "/readyz") -> bool:
        """Whether the server is there and says yes."""
        try:
            self.text("GET", path)
        except (OSError, ApiError):
            return False
        return True


def eventually(look: Callable[[], T | None], what: str, *, seconds: float = PATIENCE) -> T:
    """What ``look`` finds, as soon as it finds it."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not after {seconds:.0f} s: {what}"
        time.sleep(_LOOK)
    return found
