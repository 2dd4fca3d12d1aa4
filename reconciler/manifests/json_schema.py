"""The published JSON Schemas, one per kind, from the classes that validate.

Editors complete and check fields with them, so each rule that JSON Schema can express is in them.
Rules that it cannot express (references, the size of params) are checked by ``validate`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from reconciler.engine import RESERVED_ENV, RESERVED_PREFIXES
from reconciler.manifests import patterns
from reconciler.manifests.effects import fields_of
from reconciler.manifests.fields import Section
from reconciler.manifests.schema import DatasetManifest, ModelManifest
from reconciler.types import GROUP, JSON, Kind

#: The member that has the declared effect of a field; validators ignore it.
EFFECT = "x-effect"

_CLASSES: dict[Kind, type[Section]] = {Kind.MODEL: ModelManifest, Kind.DATASET: DatasetManifest}


def kind_schema(kind: Kind) -> dict[str, JSON]:
    """Make the schema of a kind, in the 2020-12 dialect."""
    schema = _CLASSES[kind].model_json_schema(by_alias=True, mode="validation")
    _add_effects(_CLASSES[kind], schema, schema["$defs"])
    for name, rules in _RULES.items():
        if name in schema["$defs"]:
            schema["$defs"][name].update(rules)
    published: dict[str, JSON] = _tidy(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://{GROUP}/schemas/{kind.value.lower()}.v1.json",
        **published,
        "title": kind.value,
    }


def _add_effects(section: type[Section], schema: dict[str, Any], definitions: Any) -> None:
    """Write the effect of each field into the schema of its section."""
    for field in fields_of(section):
        if field.effect is not None:
            schema["properties"][field.name][EFFECT] = field.effect.value
        if field.section is not None:
            _add_effects(field.section, definitions[field.section.__name__], definitions)


def _present(name: str) -> dict[str, JSON]:
    """A schema for: the field is present, and not null."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _exactly_one(*names: str) -> dict[str, JSON]:
    return {"oneOf": [_present(name) for name in names]}


_REFS = ("branch", "tag", "commit")
_ONE_NODE: dict[str, JSON] = {
    "properties": {"resources": {"properties": {"nodes": {"maximum": 1}}}}
}

_TWO_REFS: list[JSON] = [
    {"allOf": [_present(one), _present(other)]} for one, other in combinations(_REFS, 2)
]
_FOLLOWS_A_COMMIT: dict[str, JSON] = {
    "allOf": [_present("commit"), {"properties": {"update": {"const": "Follow"}}}],
    "required": ["update"],
}

#: Rules that the classes check in code, by the name of their definition in the schema.
_RULES: Mapping[str, dict[str, JSON]] = {
    "ModelSource": _exactly_one("git", "model", "image"),
    "DatasetSource": _exactly_one("git", "image", "bucket"),
    "BuildSection": {"allOf": [_ONE_NODE]},
    "LoadSection": {
        "allOf": [_ONE_NODE, {"if": _present("from"), "then": {"maxProperties": 1}}],
    },
    "GitSection": {
        "not": {"anyOf": [*_TWO_REFS, _FOLLOWS_A_COMMIT]},
        "if": {"properties": {"url": {"const": "."}}, "required": ["url"]},
        "then": {
            "required": ["path"],
            "properties": {
                "path": {"pattern": r"[^./]"},
                **{name: {"type": "null"} for name in (*_REFS, "update")},
            },
        },
    },
}

_RESERVED = "^({}|({}).*)$".format("|".join(sorted(RESERVED_ENV)), "|".join(RESERVED_PREFIXES))


def _tidy(schema: Any) -> Any:
    """Remove pydantic's titles, and restrict the keys of mappings.

    Titles repeat the names of fields.
    pydantic writes a mapping's keys as ``patternProperties``, which accepts any other key.
    """
    if isinstance(schema, list):
        return [_tidy(inner) for inner in schema]
    if isinstance(schema, str):
        return schema.replace("``", "`")
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(inner) for key, inner in schema.items() if not _is_title(key, inner)}
    keyed = tidy.pop("patternProperties", None)
    if keyed is not None:
        ((pattern, values),) = keyed.items()
        names = tidy.setdefault("propertyNames", {})
        names["pattern"] = pattern
        if pattern == patterns.ENV:
            names["not"] = {"pattern": _RESERVED}
        tidy["additionalProperties"] = values
    return tidy


def _is_title(key: str, value: object) -> bool:
    """Return whether a member is a title, not a field named title."""
    return key == "title" and isinstance(value, str)
