"""Tells a forge's push from what anybody could send. Pure.

A webhook changes nothing by itself: it makes the daemon look at the repository now instead of at
the next poll. So all that must be known of it is that whoever sent it has the secret, that it was
not seen before, and that it is about the branch in question.

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

#: GitHub caps its payloads at this many bytes; nobody else sends more.
LARGEST_BODY = 25 << 20
#: How many deliveries are remembered, to tell a repeated one.
REMEMBERED = 1000


class Verdict(enum.StrEnum):
    """What is made of a delivery; also the ``result`` of ``reconciler_webhooks_total``."""

    ACCEPTED = "accepted"
    IGNORED = "ignored"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(slots=True)
class Deliveries:
    """Judges deliveries, and remembers those it has accepted.

    ``reviews``: those that tell of a pull request are wanted too.
    """

    branches: tuple[str, ...]
    reviews: bool = False
    _seen: dict[str, None] = field(default_factory=dict)

    def judge(self, headers: Mapping[str, str], body: bytes, secret: bytes) -> Verdict:
        """What to make of one delivery. ``headers`` are by lower-case name."""
        if not secret or not _signed(headers, body, secret):
            return Verdict.REFUSED
        event = _event(headers)
        wanted = event in _PUSHES or (self.reviews and event in _REVIEWS)
        if not wanted or not self._is_ours(body):
            return Verdict.IGNORED
        name = _delivery(headers)
        if name is not None:
            if name in self._seen:
                return Verdict.DUPLICATE
            self._seen[name] = None
            while len(self._seen) > REMEMBERED:
                del self._seen[next(iter(self._seen))]
        return Verdict.ACCEPTED

    def _is_ours(self, body: bytes) -> bool:
        """Whether it is about one of the branches; one that names none is."""
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
    told = headers.get("x-hub-signature-256") or headers.get("x-signature-256")
    told = told.removeprefix("sha256=") if told else headers.get("x-gitea-signature", "")
    expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(_sent(told), expected.encode())


def _sent(header: str) -> bytes:
    """A header as it was sent: bytes that are no text arrive as halves of surrogate pairs."""
    return header.encode("utf-8", "surrogateescape")


_PUSHES = frozenset({"push", "Push Hook", "System Hook"})
#: Of these Gitea has one for a new head, which GitHub tells of by the other.
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
