"""A delivery that is signed makes the daemon look; nothing else does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.forge.webhook import REMEMBERED, Deliveries, DeliveryResult
from reconciler.metrics import Metrics
from reconciler.web.server import Served, serve

SECRET = b"a secret"
PUSH = json.dumps({"ref": "refs/heads/main"}).encode()


def signature(body: bytes, secret: bytes = SECRET) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def github(body: bytes = PUSH, *, event: str = "push", delivery: str = "1") -> dict[str, str]:
    return {
        "x-github-event": event,
        "x-github-delivery": delivery,
        "x-hub-signature-256": f"sha256={signature(body)}",
    }


FORGES = {
    "GitHub": github(),
    "Gitea": {
        "x-gitea-event": "push",
        "x-gitea-delivery": "1",
        "x-gitea-signature": signature(PUSH),
    },
    "GitLab": {
        "x-gitlab-event": "Push Hook",
        "x-gitlab-event-uuid": "1",
        "x-gitlab-token": SECRET.decode(),
    },
    "any other": {"x-signature-256": f"sha256={signature(PUSH)}"},
}


def checked(
    deliveries: Deliveries, headers: dict[str, str], body: bytes = PUSH, secret: bytes = SECRET
) -> DeliveryResult:
    """What becomes of a delivery whose body comes in two pieces."""
    delivery = deliveries.begin(headers, secret)
    if delivery is None:
        return DeliveryResult.REFUSED
    delivery.feed(body[:7])
    delivery.feed(body[7:])
    return deliveries.end(delivery)


def judged(headers: dict[str, str], body: bytes = PUSH, secret: bytes = SECRET) -> DeliveryResult:
    """What becomes of the first delivery."""
    return checked(Deliveries(("main",)), headers, body, secret)


@pytest.mark.parametrize("headers", FORGES.values(), ids=FORGES)
def test_a_push_of_any_forge_is_accepted(headers: dict[str, str]) -> None:
    assert judged(headers) is DeliveryResult.ACCEPTED


@pytest.mark.parametrize("headers", FORGES.values(), ids=FORGES)
def test_another_secret_is_refused(headers: dict[str, str]) -> None:
    assert judged(headers, secret=b"another") is DeliveryResult.REFUSED


def test_a_changed_body_is_refused() -> None:
    assert judged(github(), PUSH + b" ") is DeliveryResult.REFUSED


def test_no_signature_or_no_secret_is_refused() -> None:
    assert judged({"x-github-event": "push"}) is DeliveryResult.REFUSED
    empty = {"x-gitlab-token": "", "x-gitlab-event": "Push Hook"}
    assert judged(empty, secret=b"") is DeliveryResult.REFUSED


def test_a_pull_request_is_told_of_where_it_is_wanted() -> None:
    body = b'{"action": "synchronize", "number": 7}'
    headers = github(body, event="pull_request")
    assert judged(headers, body) is DeliveryResult.IGNORED
    reviewing = Deliveries(("main",), reviews=True)
    assert checked(reviewing, headers, body) is DeliveryResult.ACCEPTED


def test_the_same_delivery_again_is_a_duplicate() -> None:
    deliveries = Deliveries(("main",))
    assert checked(deliveries, github()) is DeliveryResult.ACCEPTED
    assert checked(deliveries, github()) is DeliveryResult.DUPLICATE
    assert checked(deliveries, github(delivery="2")) is DeliveryResult.ACCEPTED


def test_a_refused_delivery_does_not_use_up_its_name() -> None:
    deliveries = Deliveries(("main",))
    assert checked(deliveries, github(), b"forged") is DeliveryResult.REFUSED
    assert checked(deliveries, github()) is DeliveryResult.ACCEPTED


def test_what_is_remembered_is_bounded() -> None:
    deliveries = Deliveries(("main",))
    for number in range(REMEMBERED + 10):
        checked(deliveries, github(delivery=str(number)))
    assert len(deliveries._seen) == REMEMBERED


@pytest.mark.parametrize("event", ["ping", "issues", "pull_request"])
def test_other_events_are_ignored(event: str) -> None:
    assert judged(github(event=event)) is DeliveryResult.IGNORED


@pytest.mark.parametrize(
    "body",
    [b'{"ref": "refs/heads/other"}', b'{"ref": "refs/tags/main"}', b"not json", b"[" * 100_000],
)
def test_pushes_of_something_else_are_ignored(body: bytes) -> None:
    assert judged(github(body), body) is DeliveryResult.IGNORED


@pytest.mark.parametrize("name", ["X-Gitlab-Token", "X-Hub-Signature-256", "X-Gitea-Signature"])
async def test_a_signature_that_is_no_text_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    served = Served(
        metrics=Metrics(),
        ready=lambda: True,
        pushed=lambda: None,
        branches=("main",),
        secret_file=tmp_path / "secret",
    )
    async with serve("127.0.0.1:0", served) as address:
        assert address is not None
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        header = name.encode() + b": sha256=\xff\xfe\r\n"
        writer.write(b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" + header)
        writer.write(b"Connection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 403 "), answer


@given(st.dictionaries(st.sampled_from(sorted(github())), st.text(max_size=80)), st.binary())
def test_nothing_that_is_not_signed_is_ever_accepted(headers: dict[str, str], body: bytes) -> None:
    assert judged(headers, body) is DeliveryResult.REFUSED
