"""A digest as the body of a request: JSON, by a template of the operator's if there is one.

What people wrote into manifests, and the last line of a command that failed, stand in a digest.
So whatever a template puts out is escaped for the inside of a JSON string, unless the filter
``json`` has made a JSON value of it; and what comes out must be JSON.
"""

from __future__ import annotations

import json
import re

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from reconciler.errors import ReconcilerError
from reconciler.notify.digest import Digest
from reconciler.notify.events import Event
from reconciler.planner import Phase
from reconciler.review import printable
from reconciler.types import JSON, Kind, ObjectRef, TaskKey

#: The largest body, in bytes; receivers such as chats take no more than some 40 KB.
LONGEST_BODY = 256 << 10


class TemplateFault(ReconcilerError):
    """The template makes no body; the message says why."""


class _Value(str):
    """JSON already, as the filter ``json`` leaves it."""

    __slots__ = ()


def _finalize(value: object) -> object:
    """What stands in ``{{ }}``, as it may stand between the quotes of a JSON string."""
    if isinstance(value, _Value):
        return value
    told = "" if value is None else str(value)
    return json.dumps(told, ensure_ascii=False)[1:-1]


def _json(value: object) -> _Value:
    return _Value(json.dumps(value, ensure_ascii=False))


def _chat(value: object) -> str:
    """Text in a message of Slack's form, in which it calls nobody and its URLs are no links."""
    told = printable(str(value)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A word joiner, which nobody sees, keeps receivers from reading names and links.
    return re.sub(r"(?<=@)|(?=://)", "\u2060", told)


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
    """Makes bodies. Raises TemplateFault for a template that is wrong, as far as can be told."""

    def __init__(self, template: str | None = None) -> None:
        self._template = None
        if template is not None:
            try:
                self._template = _TEMPLATES.from_string(template)
            except TemplateError as error:
                raise TemplateFault(f"the template is wrong: {error}") from error
            self.of(_EXAMPLE, cluster="example")

    def of(self, digest: Digest, *, cluster: str) -> bytes:
        """The body that tells of a digest. Raises TemplateFault."""
        values: dict[str, JSON] = {
            "cluster": cluster,
            "events": [event.to_json() for event in digest.events],
            "counts": {phase.value: count for phase, count in digest.counts.items()},
            "more": digest.more,
        }
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


#: What a template is tried on before it is needed: text that needs escaping, and every field.
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
