"""Effects of manifest fields on the key or on the execution hash.

A field declares its effect as metadata of its type, where the field is defined::

    timeout: Annotated[Seconds, Effect.EXECUTION] = 3600.0

Keys, execution hashes, the texts of a plan, the JSON Schema and the reference page read the
declaration from here, so a field is described once.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, get_args

from reconciler.manifests.fields import Section
from reconciler.manifests.yaml_nodes import Path
from reconciler.types import GROUP, JSON


class Effect(enum.StrEnum):
    """Consequence of a change of a field.

    ``KEY``: other keys, so new artifacts are made. A field that selects an input of a task (a
    source's branch, a reference) has this effect too. ``EXECUTION``: another execution hash; the
    next run uses it, and artifacts stay. ``NONE``: neither.
    """

    KEY = "key"
    EXECUTION = "execution"
    NONE = "none"


RETRY_ANNOTATION = f"{GROUP}/retry"
UPDATE_ANNOTATION = f"{GROUP}/update"
ACCEPT_ANNOTATION = f"{GROUP}/accept"
PRUNE_ANNOTATION = f"{GROUP}/prune"
FORMERLY_ANNOTATION = f"{GROUP}/formerly"
CANCEL_ANNOTATION = f"{GROUP}/cancel"

#: The annotations that the reconciler reads. Any other annotation has the field's effect, NONE.
ANNOTATION_EFFECTS: Mapping[str, Effect] = MappingProxyType(
    {
        RETRY_ANNOTATION: Effect.EXECUTION,
        UPDATE_ANNOTATION: Effect.KEY,
        ACCEPT_ANNOTATION: Effect.NONE,
        PRUNE_ANNOTATION: Effect.NONE,
        FORMERLY_ANNOTATION: Effect.KEY,
        CANCEL_ANNOTATION: Effect.NONE,
    }
)
_ANNOTATIONS: Path = ("metadata", "annotations")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredField:
    """One field of a section, by attribute and by YAML name.

    ``effect`` is None if the field declares none. ``section`` is the class of a field that holds
    a section, or None; ``optional``: the value can be None.
    """

    attribute: str
    name: str
    effect: Effect | None
    default: Any
    section: type[Section] | None
    optional: bool


class UndeclaredEffectError(LookupError):
    """A field of the manifest classes declares no effect."""

    def __init__(self, section: type[Section], name: str) -> None:
        super().__init__(
            f"{section.__name__}.{name} declares no effect. Declare in "
            f"{section.__module__} what a change of it does, as in "
            f"`{name}: Annotated[<type>, Effect.KEY]`: Effect.KEY if it changes what is made, "
            "Effect.EXECUTION if it changes only how a task is run, Effect.NONE if neither"
        )


@cache
def fields_of(section: type[Section]) -> tuple[DeclaredField, ...]:
    """All fields of a section, in the order of their definition."""
    return tuple(
        DeclaredField(
            attribute=attribute,
            name=field.alias or attribute,
            effect=next((each for each in field.metadata if isinstance(each, Effect)), None),
            default=field.get_default(call_default_factory=True, validated_data={}),
            section=_section(field.annotation),
            optional=not isinstance(field.annotation, type),
        )
        for attribute, field in section.model_fields.items()
    )


def _section(annotation: object) -> type[Section] | None:
    """The section of a type ``S`` or ``S | None``, else None."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Section) else None
    members = [each for each in get_args(annotation) if each is not type(None)]
    single = members[0] if len(members) == 1 else None
    return single if isinstance(single, type) and issubclass(single, Section) else None


def undeclared(root: type[Section]) -> Iterator[UndeclaredEffectError]:
    """Find the fields below a class for which no effect is declared."""
    for field in fields_of(root):
        if field.effect is None and field.section is None:
            yield UndeclaredEffectError(root, field.attribute)
        elif field.effect is None and field.section is not None:
            yield from undeclared(field.section)


def effect_at(root: type[Section], path: Path) -> Effect:
    """The declared effect of the field at a path of YAML names.

    A path inside a field has the effect of the field. Raises UndeclaredEffectError if the field
    declares none, LookupError if there is no such field.
    """
    if path[:2] == _ANNOTATIONS and path[2:3]:
        return ANNOTATION_EFFECTS.get(str(path[2]), Effect.NONE)
    section = root
    for name in path:
        field = next((each for each in fields_of(section) if each.name == name), None)
        if field is None:
            break
        if field.effect is not None:
            return field.effect
        if field.section is None:
            raise UndeclaredEffectError(section, field.attribute)
        section = field.section
    raise LookupError(f"{root.__name__} has no field {path}, or it holds a section")


def values_with(effect: Effect, section: Section) -> dict[str, JSON]:
    """Values of a section's fields with an effect, by YAML name.

    These are the values to hash. A field at its default is left out. A section that is always
    there (``resources``) stands for its fields. An optional section without an effect of its own
    (``dataset``, ``from``) is left out: what it refers to has a key of its own.

    Raises ValueError if two fields would have one name in the hash.
    """
    values: dict[str, JSON] = {}
    for field in _selected(type(section), effect):
        value = getattr(section, field.attribute)
        if field.effect is None:
            found = values_with(effect, value)
        elif value != field.default:
            found = {field.name: _plain(value)}
        else:
            continue
        if both := values.keys() & found.keys():
            raise ValueError(f"two fields of {type(section).__name__} are hashed as {min(both)}")
        values |= found
    return values


@cache
def _selected(section: type[Section], effect: Effect) -> tuple[DeclaredField, ...]:
    """The fields of a section with an effect, and its required sections."""
    return tuple(
        field
        for field in fields_of(section)
        if field.effect is effect
        or (field.effect is None and field.section is not None and not field.optional)
    )


def _plain(value: Any) -> JSON:
    """Convert a value to JSON, without fields at their default."""
    if isinstance(value, Section):
        return {
            field.name: _plain(inner)
            for field in fields_of(type(value))
            if (inner := getattr(value, field.attribute)) != field.default
        }
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    plain: JSON = value
    return plain
