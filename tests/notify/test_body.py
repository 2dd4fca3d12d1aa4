"""Bodies are JSON, whatever is put into them; signatures are those of the published customs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.notify import (
    LONGEST_BODY,
    Body,
    Digest,
    Event,
    TemplateFault,
    delivery_headers,
)
from reconciler.planner.phases import Phase
from reconciler.types import Kind, ObjectRef, TaskKey
from tests.golden_files import kept

NASTY = 'bad "reason" \\ }} {{ 7 * 7 }} <!channel> @here https://evil.example \u202e\n\u2028'


def digest(reason: str) -> Digest:
    event = Event(ref=ObjectRef(Kind.MODEL, "ml", "m"), phase=Phase.FAILED, message=reason)
    return Digest(events=(event,), counts={Phase.FAILED: 1}, more=0)


def made(template: str | None, reason: str = NASTY) -> Any:
    return json.loads(Body(template).of(digest(reason), cluster="prod"))


def test_without_a_template_the_body_is_as_it_is_kept() -> None:
    ref = ObjectRef(Kind.MODEL, "ml", "m")
    events = (
        Event(
            ref=ref,
            phase=Phase.READY,
            before=Phase.TRAINING,
            key=TaskKey("a" * 40),
            key_before=TaskKey("b" * 40),
            artifact="s3://models/m/",
            reason="Complete",
            message="complete",
            path="models/m.yaml",
            commit="c" * 40,
        ),
        Event(ref=ref, phase=Phase.HELD, reason="HeldByGuard", hold="96c2a4c48f73", objects=3),
        Event(ref=ref, phase=Phase.FAILED, message=NASTY),
    )
    counts = {Phase.READY: 1, Phase.HELD: 3, Phase.FAILED: 60}
    body = Body().of(Digest(events=events, counts=counts, more=59), cluster="prod").decode()
    assert body == kept("notification.json", body)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_in_a_template_cannot_leave_its_string(reason: str) -> None:
    assert made('{"text": "{{ events[0].message }}"}', reason) == {"text": reason}
    assert made('{"all": {{ events | json }}}', reason)["all"][0]["message"] == reason


def test_what_marks_text_as_safe_elsewhere_does_not_here() -> None:
    for filters in ("safe", "e | safe", "tojson | string | safe"):
        made(f'{{"text": "{{{{ events[0].message | {filters} }}}}"}}')


def test_a_message_for_a_chat_calls_nobody_and_has_no_links() -> None:
    text = made('{"text": "{{ events[0].message | chat }}"}')["text"]
    assert "<" not in text
    assert "@here" not in text
    assert "https://" not in text
    assert "\u202e" not in text
    assert "&lt;!channel&gt;" in text


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ events", "unexpected end of template"),
        ('{"text": {{ cluster }}}', "makes no JSON"),
        ("plain words", "makes no JSON"),
        ('{"text": "{{ evnets }}"}', "'evnets' is undefined"),
        ('{"text": "{{ cluster.__class__.__mro__ }}"}', "unsafe"),
        ('{"text": "{{ events.append(1) }}"}', "of 'list' object is unsafe"),
        ('{"text": "{{ 1 / 0 }}"}', "division by zero"),
        ('{% include "/etc/passwd" %}', "no loader"),
        ('{"text": "{{ "x" * 300000 }}"}', f"{LONGEST_BODY:,} bytes"),
    ],
)
def test_a_template_that_makes_no_body_is_refused_at_once(template: str, why: str) -> None:
    with pytest.raises(TemplateFault, match=why):
        Body(template)


def test_the_signatures_are_those_of_github_and_of_standard_webhooks() -> None:
    # Known answers: GitHub's documentation of validating deliveries, and the reference
    # implementations of Standard Webhooks.
    github = delivery_headers(
        b"Hello, World!", name="msg_1", seconds=1, secret=b"It's a Secret to Everybody"
    )
    assert github["X-Hub-Signature-256"] == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )
    standard = delivery_headers(
        b'{"test": 2432232314}',
        name="msg_p5jXN8AQM9LWM0D4loKWxJek",
        seconds=1614265330,
        secret=b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    assert standard["webhook-id"] == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert standard["webhook-timestamp"] == "1614265330"
    assert standard["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_that_is_no_base64_is_a_key_as_it_is() -> None:
    secret, body = b"whsec_not base64!", b"{}"
    headers = delivery_headers(body, name="m", seconds=5, secret=secret)
    expected = hmac.digest(secret, b"m.5.{}", hashlib.sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


def test_without_a_secret_nothing_is_signed() -> None:
    assert delivery_headers(b"", name="m", seconds=5, secret=None).keys() == {
        "webhook-id",
        "webhook-timestamp",
    }
