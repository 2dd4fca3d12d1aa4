"""Calls to a forge's REST API, and the meaning of its answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from reconciler import redaction
from reconciler.errors import Trouble
from reconciler.forge.interface import ForgeError
from reconciler.http_client import Answer, CallError, Client
from reconciler.review import printable
from reconciler.types import JSON

#: Characters of a forge's own words that are read, and that are repeated.
_LARGEST_MESSAGE, _LONGEST_MESSAGE = 10_000, 200
#: The longest pause that a forge may ask for, in seconds: GitHub's limits are by the hour.
LONGEST_PAUSE = 3600.0

Sha = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Id = Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
Number = Annotated[int, Meta(ge=1, le=1 << 31)]
Branch = Annotated[str, Meta(min_length=1, max_length=255)]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rest:
    """A REST API; ``headers`` is called at each request, as tokens rotate."""

    client: Client
    api: str
    headers: Callable[[], Mapping[str, str]]

    async def ask(
        self,
        method: str,
        path: str,
        payload: Mapping[str, JSON] | None = None,
        *,
        tag: str | None = None,
    ) -> Answer:
        """Call the API and return a successful answer.

        Also one of status 304, where nothing has changed since ``tag``. Raises ForgeError.
        """
        headers = dict(self.headers())
        body = None
        if payload is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(payload).encode()
        if tag is not None:
            headers["If-None-Match"] = tag
        try:
            answer = await self.client.call(method, self.api + path, headers=headers, body=body)
        except CallError as error:
            raise ForgeError(str(error), error.trouble) from error
        if answer.fine or (tag is not None and answer.status == HTTPStatus.NOT_MODIFIED):
            return answer
        raise _refusal(answer, f"{method} {path.partition('?')[0]}", _secrets(headers))


class PagedList:
    """A list that the forge sends only when it has changed."""

    def __init__(self) -> None:
        self._path = ""
        self._tag: str | None = None
        self._items: list[msgspec.Raw] = []

    async def read(self, rest: Rest, path: str) -> list[msgspec.Raw]:
        """Return the items at a path, undecoded. Raises ForgeError."""
        tag = self._tag if path == self._path else None
        answer = await rest.ask("GET", path, tag=tag)
        if answer.status != HTTPStatus.NOT_MODIFIED:
            self._items = decode(answer, list[msgspec.Raw])
            etag = answer.headers.get("etag", "")
            self._path, self._tag = path, etag if 0 < len(etag) < 500 else None
        return self._items


def items(raw: list[msgspec.Raw], shape: type[T]) -> list[T]:
    """Decode a list's items of the given shape, and skip others."""
    found = []
    for each in raw:
        try:
            found.append(msgspec.json.decode(each, type=shape))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found


def decode(answer: Answer, shape: type[T]) -> T:
    """Decode an answer of the given shape. Raises ForgeError."""
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ForgeError(
            f"its answer is not of the form that is described: {printable(str(error))[:200]}",
            Trouble.OTHER,
        ) from error


_TROUBLES: Mapping[int, Trouble] = {
    HTTPStatus.UNAUTHORIZED: Trouble.REFUSED,
    HTTPStatus.FORBIDDEN: Trouble.REFUSED,
    HTTPStatus.NOT_FOUND: Trouble.MISSING,
    HTTPStatus.GONE: Trouble.MISSING,
    HTTPStatus.CONFLICT: Trouble.CONFLICT,
    HTTPStatus.REQUEST_TIMEOUT: Trouble.TIMEOUT,
}


def _secrets(headers: Mapping[str, str]) -> list[str]:
    """Return the token of a request, without its scheme."""
    sent = {name.lower(): value for name, value in headers.items()}
    return [sent[name].rpartition(" ")[2] for name in _TOKEN_HEADERS if name in sent]


_TOKEN_HEADERS = ("authorization", "private-token")


def _refusal(answer: Answer, what: str, secrets: list[str]) -> ForgeError:
    """Make a ForgeError of an answer that is no success.

    What it says is repeated without ``secrets``.
    """
    status, pause = answer.status, _pause(answer)
    said = redaction.without(_message(answer.body), secrets)[:_LONGEST_MESSAGE]
    text = f"{what} was answered with {status}{f' ({said})' if said else ''}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.FORBIDDEN and pause):
        return ForgeError(f"{text}: too many calls", Trouble.LIMITED, pause=pause or 60.0)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ForgeError(text, Trouble.UNREACHABLE, pause=pause)
    if 300 <= status < 400:
        text = f"{text}: it sends on to another place, which is not followed"
    trouble = _TROUBLES.get(status, Trouble.REJECTED)
    lasting = trouble in (Trouble.MISSING, Trouble.REJECTED)
    return ForgeError(text, trouble, pause=pause, lasting=lasting)


def _pause(answer: Answer) -> float:
    """Return the seconds in which the forge wants no calls.

    By Retry-After, or by the end of a limit that is used up: ``x-ratelimit-reset`` is in seconds
    since 1970.
    """
    if "retry-after" in answer.headers:
        return answer.pause(1.0, LONGEST_PAUSE)
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit() and len(reset) < 12:
        return min(max(int(reset) - time.time(), 1.0), LONGEST_PAUSE)
    return 0.0


def _message(body: bytes) -> str:
    """Return an error's message, for the log."""
    try:
        said = json.loads(body[:100_000])
    except (ValueError, RecursionError):
        return ""
    message = said.get("message") if isinstance(said, dict) else None
    return printable(message[:_LARGEST_MESSAGE]) if isinstance(message, str) else ""
