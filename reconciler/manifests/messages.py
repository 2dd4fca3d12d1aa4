"""Messages of validation errors: the expected value, and the found one.

pydantic's own messages describe its checks; these tell the author of a YAML file what to write.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from reconciler.manifests.patterns import IN_WORDS
from reconciler.urls import redact

LONGEST_SHOWN = 60

_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
}

#: The expected value of each kind of bound, from the context of pydantic's error.
_BOUNDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda context: f"at least {context['ge']}",
    "greater_than": lambda context: f"more than {context['gt']}",
    "less_than_equal": lambda context: f"at most {context['le']}",
    "less_than": lambda context: f"less than {context['lt']}",
    "string_too_long": lambda context: f"at most {context['max_length']} characters",
    "string_too_short": lambda context: _at_least(context["min_length"], "character"),
    "too_short": lambda context: _at_least(context["min_length"], "item"),
    "too_long": lambda context: f"at most {context['max_length']} items",
}


def message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """Render one of pydantic's errors about a class."""
    kind, context, found = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        *path, name = detail["loc"]
        return f'unknown field "{name!s:.80}"{did_you_mean(name, _fields(model, path))}'
    if kind == "missing":
        return "is required"
    if kind in _EXPECTED:
        quoted = kind == "string_type" and isinstance(found, (bool, int, float))
        hint = "; put it in quotes" if quoted else ""
        return f"expected {_EXPECTED[kind]}, found {described(found)}{hint}"
    if kind in _BOUNDS:
        return f"expected {_BOUNDS[kind](context)}, found {_measured(kind, found)}"
    if kind == "literal_error":
        choices = str(context.get("expected", "")).replace("'", '"')
        near = did_you_mean(found, re.findall(r'"([^"]*)"', choices))
        return f"expected {choices}, found {described(found)}{near}"
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern"))
        expected = IN_WORDS.get(pattern, f"text that matches {pattern}")
        return f"expected {expected}; found {described(found)}"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, found {described(found)}"


def described(value: object) -> str:
    """Render a found value; text is redacted and cut to 60 characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        value = redact(value)
        return f'"{value}"' if len(value) <= LONGEST_SHOWN else f'"{value[:LONGEST_SHOWN]}…"'
    return "a mapping" if isinstance(value, Mapping) else "a list"


def did_you_mean(
    found: object, known: Collection[str], cutoff: float = 0.6, *, most: int = 1
) -> str:
    """Suggest the most similar known names; an empty text without any."""
    matches = difflib.get_close_matches(str(found)[:80], known, n=most, cutoff=cutoff)
    *others, last = (f'"{match}"' for match in matches) if matches else ("",)
    first = f"{', '.join(others)} or " if others else ""
    return f"; did you mean {first}{last}?" if matches else ""


def _at_least(count: int, noun: str) -> str:
    return f"at least {count} {noun}{'' if count == 1 else 's'}"


def _measured(kind: str, found: object) -> str:
    if isinstance(found, str) and kind == "string_too_long":
        return f"{len(found)}"
    if isinstance(found, (list, dict)):
        return f"{len(found)}"
    return described(found)


def _fields(model: type[BaseModel], path: list[str | int]) -> list[str]:
    """YAML names of the fields of the section at a path."""
    section: type[BaseModel] = model
    for part in path:
        fields = {(f.alias or name): f for name, f in section.model_fields.items()}
        inner = fields.get(str(part))
        models = [t for t in _types(inner.annotation) if issubclass(t, BaseModel)] if inner else []
        if models:
            section = models[0]
        elif inner is not None:
            return []
    return [f.alias or name for name, f in section.model_fields.items()]


def _types(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _types(inner)
