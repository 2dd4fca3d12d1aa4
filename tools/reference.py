"""``make docs``: the reference pages, written from what the program itself goes by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.config.model import config_schema
from reconciler.engine import RunPhase
from reconciler.errors import Trouble
from reconciler.forge.webhook import Verdict
from reconciler.manifests.json_schema import json_schema
from reconciler.metrics import DELIVERIES, PLACES, Metrics
from reconciler.metrics.runs import RESULTS, RETRIERS
from reconciler.planner.plan import HoldKind
from reconciler.planner.status import Phase, TaskPhase
from reconciler.review.commit_status import CommitState
from reconciler.types import Kind, TaskKind

DOCS = Path(__file__).resolve().parents[1] / "docs"
_WRITTEN = "<!-- Written by `make docs`. -->"
_LONGEST_ENUM = 12


def pages() -> dict[str, str]:
    """The text of each generated page, by file name."""
    return {
        "manifests.md": manifests(),
        "configuration.md": configuration(),
        "metrics.md": metrics(),
    }


def manifests() -> str:
    """Of both kinds, field by field."""
    lines = [
        _WRITTEN,
        "# Manifests",
        "",
        (
            "A document is read as a manifest if its `apiVersion` is `substratus.ai/v1`, or if it "
            "has none and has a `kind`. `kind: List` is read as its `items`. YAML is read by the "
            "rules of 1.2."
        ),
        "",
        "| source | training | what runs |",
        "|---|---|---|",
        "| git | none | build → load |",
        "| git | Finetune | build → load (the base's weights) → train |",
        "| git | Scratch | build → train |",
        "| model | none | load, in the base's image, with its weights |",
        "| model | Finetune | train, in the base's image, off its weights |",
        "| model | Scratch | train, in the base's image |",
        "| image | as git | the same without the build |",
        "| bucket, or `load.from` | | nothing: it is there |",
        "",
        "| annotation | meaning |",
        "|---|---|",
        "| `substratus.ai/retry` | a new value runs what has failed once more |",
        "| `substratus.ai/update` | a new value takes a pinned source's newest commit |",
        '| `substratus.ai/prune: "false"` | the object stays when its manifest goes |',
        (
            "| `substratus.ai/formerly` | `[[<cluster>/]<namespace>/]<name>`: a rename that "
            "keeps the artifacts |"
        ),
    ]
    for kind in Kind:
        lines += ["", f"## {kind}", "", *_sections(json_schema(kind), level=3)]
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """Of the daemon, key by key."""
    lines = [
        _WRITTEN,
        "# Configuration",
        "",
        (
            "One YAML file; see [operations](operations.md) for an example. Every key is also set "
            "by its path in upper case, joined by `__`: `RECONCILER_PRUNE__MAXSHARE=0.25`."
        ),
        "",
        *_sections(config_schema(), level=2),
    ]
    return "\n".join(lines) + "\n"


_ABOUT_METRICS = """\
Served at `/metrics`, in Prometheus' text format; [dashboards and
alerts](operations.md#dashboards) are made of them. Labels hold nothing unbounded: no keys,
commits or messages.

What is labelled by object (`kind`, `namespace`, `name`) goes with the object, and only
`server.metricsObjects` objects have it (1,000 by default): those first that need somebody
(Invalid, Failed, Held, Waiting), Ready ones last, and equal ones by name.
`reconciler_objects_left_out` says how many have none. `reconciler_gpu_seconds_total` has the
first so many objects that used a GPU, and all others under one name, so that its sum is right.
`namespace` is the object's: scrape with `honor_labels: true`, or Prometheus renames it to
`exported_namespace`.

A replica that does not lead knows of no objects, tasks, runs, GPUs or holds, and says 0.
Counters begin anew with the process, and do not have what happened while it was away; the
status files have.
"""


def metrics() -> str:
    """Of the daemon, by name."""
    lines = [_WRITTEN, "# Metrics", "", *_ABOUT_METRICS.splitlines(), ""]
    lines += ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in sorted(Metrics().defined, key=lambda metric: metric.name):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.meaning} |")
    lines += ["", "| label | values |", "|---|---|"]
    for label, values in _label_values().items():
        shown = ", ".join(f"`{value}`" for value in values)
        lines.append(f"| {label} | {shown} |")
    return "\n".join(lines) + "\n"


def _label_values() -> dict[str, list[str]]:
    """What each label can be, where that is a closed list."""
    return {
        "`kind`": [*Kind],
        "`task`": [*TaskKind],
        "`phase` of objects": [*Phase],
        "`phase` of tasks": [*TaskPhase],
        "`phase` of runs": [*RunPhase],
        "`result` of runs": [*RESULTS],
        "`result` of webhooks": [*Verdict],
        "`result` of notifications": [*DELIVERIES],
        "`result` of reviews": [*CommitState],
        "`by`": [*RETRIERS],
        "`where`": [*PLACES],
        "`class`": [*Trouble],
        "`kind` of holds": [*HoldKind],
    }


def _sections(schema: dict[str, Any], *, level: int) -> Iterator[str]:
    """A table for each mapping in a schema, the outer ones first; each of them once."""
    definitions = schema.get("$defs", {})
    waiting: list[tuple[str, dict[str, Any]]] = [("", schema)]
    seen: dict[int, str] = {}
    while waiting:
        path, section = waiting.pop(0)
        seen[id(section)] = path
        if path:
            yield from ("", f"{'#' * level} `{path}`", "")
        if text := section.get("description"):
            yield from (_one_line(text), "")
        yield from ("| field | type | default | meaning |", "|---|---|---|---|")
        required = section.get("required", [])
        for name, field in section.get("properties", {}).items():
            inner = _inner(field, definitions)
            place = f"{path}.{name}".removeprefix(".")
            meaning = _one_line(_described(field))
            if inner is not None:
                known = seen.get(id(inner)) or next((p for p, s in waiting if s is inner), None)
                if known is None:
                    waiting.append((place, inner))
                meaning = f"{meaning} See `{known or place}`.".strip()
            default = "required" if name in required else _default(field)
            yield f"| `{name}` | {_type(field, definitions)} | {default} | {meaning} |"


def _inner(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The mapping that a field holds, directly, or as the items of a list or a mapping."""
    if "$ref" in field:
        found: dict[str, Any] = definitions[field["$ref"].rpartition("/")[2]]
        return found if "properties" in found else None
    nested = [*field.get("anyOf", []), field.get("items"), field.get("additionalProperties")]
    for one in nested:
        if isinstance(one, dict) and (inner := _inner(one, definitions)) is not None:
            return inner
    return field if "properties" in field else None


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in field:
        return _type(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        shown = [f"`{value}`" for value in field["enum"][:_LONGEST_ENUM]]
        return " or ".join(shown)
    if "anyOf" in field:
        kinds = [_type(one, definitions) for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    match field.get("type"):
        case "array":
            return f"list of {_type(field.get('items', {}), definitions)}"
        case "object":
            return "mapping"
        case str() as name:
            return name
    return "any"


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value in (None, "", [], {}):
        return ""
    return f"`{json.dumps(value)}`"


def _described(field: dict[str, Any]) -> str:
    own: str = field.get("description", "")
    if own:
        return own
    inner = [one.get("description", "") for one in field.get("anyOf", [])]
    return next((text for text in inner if text), "")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text)
