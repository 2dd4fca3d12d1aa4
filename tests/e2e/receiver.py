"""Somebody who is told: a server on loopback that keeps what it gets, and answers as asked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from tests.servers import Handler, Serving

SECRET = b"whsec_" + base64.b64encode(b"a key of thirty-two random bytes")


@dataclass(frozen=True, slots=True)
class Delivery:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed(self, secret: bytes = SECRET) -> bool:
        """Whether both of its signatures are right."""
        key = base64.b64decode(secret.removeprefix(b"whsec_"))
        name, stamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        signed = b".".join((name.encode(), stamp.encode(), self.body))
        standard = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        hub = hmac.new(key, self.body, hashlib.sha256).hexdigest()
        return (
            self.headers["webhook-signature"] == f"v1,{standard}"
            and self.headers["x-hub-signature-256"] == f"sha256={hub}"
        )


@dataclass
class Receiver(Serving):
    """``answers`` are given one by one, as (status, headers); after the last of them, 204."""

    answers: deque[tuple[int, Mapping[str, str]]] = field(default_factory=deque)
    got: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        outer = self

        class Told(Handler):
            def do_POST(self) -> None:  # noqa: N802 -- as it must be called
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.got.append(Delivery(self.path, headers, self.body()))
                status, extra = outer.answers.popleft() if outer.answers else (204, {})
                self.answer(status, extra.items())

        self.serve(ThreadingHTTPServer(("127.0.0.1", 0), Told))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/T0/s3cret-path"

    def events(self) -> list[tuple[str, str | None, str]]:
        """(name, before, phase) of everything told, in its order."""
        return [
            (event["name"], event["before"], event["phase"])
            for delivery in self.got
            for event in delivery.json["events"]
        ]
