"""Deliveries of digests: JSON bodies, perhaps by template, and signed headers.

Texts of manifests, and the last line of a command that failed, stand in a digest. So a template's
values are escaped for the inside of a JSON string, unless the filter ``json`` has made a JSON value
of them; and the result must be JSON.

The headers serve two customs at once: GitHub's ``X-Hub-Signature-256`` over the body, and Standard
Webhooks, whose signature also covers an id and the time, so that an old delivery cannot be sent
again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reconciler.codec import Codec
from reconciler.errors import ReconcilerError
from reconciler.notify.events import Digest, Event
from reconciler.planner import Phase
from reconciler.review import printable
from reconciler.types import JSON, Kind, ObjectRef, TaskKey

#: The largest body, in bytes; receivers such as chats take no more than some 40 KB.
LONGEST_BODY = 256 << 10
_PREFIX = b"whsec_"


class TemplateFault(ReconcilerError):
    """A template makes no body; the message says why."""


class _Value(str):
    """A JSON value, made by the filter ``json``."""

    __slots__ = ()


def _finalize(value: object) -> object:
    """Escape a template's value for the inside of a JSON string."""
    if isinstance(value, _Value):
        return value
    text = "" if value is None else str(value)
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _json(value: object) -> _Value:
    return _Value(json.dumps(value, ensure_ascii=False))


def _chat(value: object) -> str:
    """Escape text for Slack's format, without mentions and links."""
    text = printable(str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A word joiner, which is invisible, keeps receivers from reading names and links.
    return re.sub(r"(?<=@)|(?=://)", "\u2060", text)


def _environment() -> ImmutableSandboxedEnvironment:
    found = ImmutableSandboxedEnvironment(
        autoescape=False,  # that would be HTML
        finalize=_finalize,
        undefined=StrictUndefined,
    )
    found.filters |= {"json": _json, "tojson": _json, "chat": _chat}
    return found


_TEMPLATES = _environment()


class Body:
    """Bodies of deliveries, by a template or as plain JSON.

    Raises TemplateFault for a template that fails on an example.
    """

    def __init__(self, template: str | None = None) -> None:
        self._template = None
        if template is not None:
            try:
                self._template = _TEMPLATES.from_string(template)
            except TemplateError as error:
                raise TemplateFault(f"the template is wrong: {error}") from error
            self.of(_EXAMPLE, cluster="example")

    def of(self, digest: Digest, *, cluster: str) -> bytes:
        """Make the body of a digest. Raises TemplateFault."""
        values = digest_document(digest, cluster=cluster)
        if self._template is None:
            return json.dumps(values, ensure_ascii=False).encode()
        try:
            text = self._template.render(values)
            json.loads(text)
            body = text.encode()
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise TemplateFault(f"the template makes no JSON: {error}") from error
        if len(body) > LONGEST_BODY:
            raise TemplateFault(f"the template makes a body of more than {LONGEST_BODY:,} bytes")
        return body


#: The example that a template is tried on: text that needs escaping, and every field.
_EXAMPLE = Digest(
    events=(
        Event(
            ref=ObjectRef(Kind.MODEL, "default", "example"),
            phase=Phase.FAILED,
            before=Phase.TRAINING,
            key=TaskKey("0" * 40),
            reason='train: "quoted" \\ <&> \u2028',
            path="models/example.yaml",
            commit="0" * 40,
        ),
        Event(ref=ObjectRef(Kind.DATASET, "default", "example"), phase=Phase.READY),
    ),
    counts={Phase.FAILED: 1, Phase.READY: 1},
    more=0,
)


def signing_key(secret: bytes) -> bytes:
    """Return a secret's key.

    That is the secret itself, or the base64 after ``whsec_``, as generators write it.
    """
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            return secret
    return secret


def delivery_headers(
    body: bytes, *, name: str, seconds: int, secret: bytes | None
) -> dict[str, str]:
    """Make the headers of a delivery, signed where there is a secret.

    ``name`` is its id, which another try keeps, and ``seconds`` the time of the try since 1970.
    """
    headers = {"webhook-id": name, "webhook-timestamp": str(seconds)}
    if secret is not None:
        key = signing_key(secret)
        content = b".".join((name.encode(), str(seconds).encode(), body))
        standard = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        headers["X-Hub-Signature-256"] = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
        headers["webhook-signature"] = f"v1,{standard}"
    return headers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    type: Literal["phase", "hold"]
    kind: Kind
    namespace: str
    name: str
    phase: Phase
    before: Phase | None
    reason: str
    message: str
    hold: str | None
    key: TaskKey | None
    artifact: str | None
    path: str
    commit: str
    objects: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Digest:
    cluster: str
    events: tuple[_Event, ...]
    counts: Mapping[str, int]
    more: int


_DIGEST = Codec(_Digest, omit="nothing")


def digest_document(digest: Digest, *, cluster: str) -> dict[str, JSON]:
    """Return a digest as templates, and a body without one, have it."""
    return _DIGEST.dump(
        _Digest(
            cluster=cluster,
            events=tuple(map(_event, digest.events)),
            counts={phase.value: count for phase, count in digest.counts.items()},
            more=digest.more,
        )
    )


def _event(event: Event) -> _Event:
    return _Event(
        type="hold" if event.phase is Phase.HELD else "phase",
        kind=event.ref.kind,
        namespace=event.ref.namespace,
        name=event.ref.name,
        phase=event.phase,
        before=event.before,
        reason=event.reason,
        message=event.message,
        hold=event.hold,
        key=event.key,
        artifact=event.artifact,
        path=event.path,
        commit=event.commit,
        objects=event.objects,
    )
