"""Webhook deliveries of forges: their signatures, and whether they matter. Pure.

A webhook changes nothing by itself: it makes the daemon poll the repository now instead of at the
next interval. So three things are checked: its sender has the secret, it was not seen before, and
it is about one of the branches.

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
#: How many deliveries are remembered, to detect repeated ones.
REMEMBERED = 1000


class DeliveryResult(enum.StrEnum):
    """The result of a delivery, and ``result`` of ``reconciler_webhooks_total``."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(slots=True)
class Deliveries:
    """The checks of deliveries, and the names of those accepted.

    ``reviews``: deliveries about pull requests are accepted too.
    """

    branches: tuple[str, ...]
    reviews: bool = False
    _seen: dict[str, None] = field(default_factory=dict)

    def check(self, headers: Mapping[str, str], body: bytes, secret: bytes) -> DeliveryResult:
        """Check one delivery. ``headers`` are by lower-case name."""
        if not secret or not _signed(headers, body, secret):
            return DeliveryResult.REFUSED
        event = _event(headers)
        wanted = event in _PUSHES or (self.reviews and event in _REVIEWS)
        if not wanted or not self._is_ours(body):
            return DeliveryResult.IGNORED
        name = _delivery(headers)
        if name is not None:
            if name in self._seen:
                return DeliveryResult.DUPLICATE
            self._seen[name] = None
            while len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]
        return DeliveryResult.ACCEPTED

    def _is_ours(self, body: bytes) -> bool:
        """Return whether a delivery names our branch, or none."""
        try:
            payload = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            return False
        ref = payload.get("ref") if isinstance(payload, dict) else None
        if ref is None:
            return True
        return isinstance(ref, str) and ref.removeprefix("refs/heads/") in self.branches


def _signed(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    token = headers.get("x-gitlab-token")
    if token is not None:
        return hmac.compare_digest(_sent(token), secret)
    signature = headers.get("x-hub-signature-256") or headers.get("x-signature-256")
    signature = (
        signature.removeprefix("sha256=") if signature else headers.get("x-gitea-signature", "")
    )
    expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(_sent(signature), expected.encode())


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
