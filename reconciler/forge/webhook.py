"""Webhook deliveries of forges: their signatures, and whether they matter. Pure.

A webhook changes nothing by itself: it makes the daemon poll the repository now instead of at the
next interval. So three things are checked: its sender has the secret, it was not seen before, and
it is about one of the branches.

Everyone who reaches the port can send one, and its signature covers the whole body. So a body is
hashed as it arrives, and no more than its beginning is kept; a delivery without a signature, or
with a wrong token, is refused by its headers alone.

Understood: GitHub (``X-Hub-Signature-256``), Gitea and Forgejo (``X-Gitea-Signature``), GitLab
(``X-Gitlab-Token``), and any other sender's ``X-Signature-256: sha256=<HMAC of the body>``.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

#: GitHub caps its payloads at this many bytes; no other forge sends more.
LARGEST_BODY = 25 << 20
#: Bytes of a body that are kept to be read; a push of a thousand commits has more.
LARGEST_KEPT = 256 << 10
#: How many deliveries are remembered, to detect repeated ones.
REMEMBERED = 1000


class DeliveryResult(enum.StrEnum):
    """The result of a delivery, and ``result`` of ``reconciler_webhooks_total``."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


#: Hexadecimal digits of a SHA-256.
_SIGNATURE_LENGTH = 64


@dataclass(slots=True)
class Delivery:
    """A delivery whose body is arriving.

    ``mac`` is of the body so far, or None where a token in the headers was right.
    """

    headers: Mapping[str, str]
    signature: bytes = b""
    mac: hmac.HMAC | None = None
    kept: bytearray = field(default_factory=bytearray)
    size: int = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if self.mac is not None:
            self.mac.update(data)
        self.size += len(data)
        self.kept += data[: max(LARGEST_KEPT - len(self.kept), 0)]

    @property
    def signed(self) -> bool:
        """Return whether the sender has the secret."""
        if self.mac is None:
            return True
        return hmac.compare_digest(self.signature, self.mac.hexdigest().encode())


@dataclass(slots=True)
class Deliveries:
    """The checks of deliveries, and the names of those accepted.

    ``reviews``: deliveries about pull requests are accepted too.
    """

    branches: tuple[str, ...]
    reviews: bool = False
    _seen: dict[str, None] = field(default_factory=dict)

    def begin(self, headers: Mapping[str, str], secret: bytes) -> Delivery | None:
        """Begin a delivery by its headers, which are by lower-case name.

        Returns None for one that is refused whatever its body is.
        """
        if not secret:
            return None
        token = headers.get("x-gitlab-token")
        if token is not None:
            return Delivery(headers) if hmac.compare_digest(_sent(token), secret) else None
        signature = headers.get("x-hub-signature-256") or headers.get("x-signature-256")
        if signature:
            signature = signature.removeprefix("sha256=")
        else:
            signature = headers.get("x-gitea-signature", "")
        if len(signature) != _SIGNATURE_LENGTH:
            return None
        return Delivery(headers, _sent(signature), hmac.new(secret, digestmod=hashlib.sha256))

    def end(self, delivery: Delivery) -> DeliveryResult:
        """Check a delivery whose body has been fed."""
        if not delivery.signed:
            return DeliveryResult.REFUSED
        event = _event(delivery.headers)
        wanted = event in _PUSHES or (self.reviews and event in _REVIEWS)
        if not wanted or not self._is_ours(delivery):
            return DeliveryResult.IGNORED
        name = _delivery(delivery.headers)
        if name is not None:
            if name in self._seen:
                return DeliveryResult.DUPLICATE
            self._seen[name] = None
            while len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]
        return DeliveryResult.ACCEPTED

    def _is_ours(self, delivery: Delivery) -> bool:
        """Return whether a delivery names our branch, or none.

        One that is longer than what is kept counts as ours: a poll in vain costs little.
        """
        if delivery.size > LARGEST_KEPT:
            return True
        try:
            payload = json.loads(delivery.kept or b"{}")
        except (ValueError, RecursionError):
            return False
        ref = payload.get("ref") if isinstance(payload, dict) else None
        if ref is None:
            return True
        return isinstance(ref, str) and ref.removeprefix("refs/heads/") in self.branches


def _sent(header: str) -> bytes:
    """Return a header's bytes as sent.

    Bytes that are no text arrive as halves of surrogate pairs.
    """
    return header.encode("utf-8", "surrogateescape")


_PUSHES = frozenset({"push", "Push Hook", "System Hook"})
#: Gitea sends ``pull_request_sync`` for a new head, and GitHub ``pull_request``.
_REVIEWS = frozenset({"pull_request", "pull_request_sync", "Merge Request Hook"})


def _event(headers: Mapping[str, str]) -> str:
    return (
        headers.get("x-github-event")
        or headers.get("x-gitea-event")
        or headers.get("x-gitlab-event")
        or "push"
    )


def _delivery(headers: Mapping[str, str]) -> str | None:
    names = ("x-github-delivery", "x-gitea-delivery", "idempotency-key", "x-gitlab-event-uuid")
    return next((headers[name][:200] for name in names if name in headers), None)
