"""Write the reference pages from the program's own definitions (``make docs``)."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.config.schema import config_schema
from reconciler.engine import CollectedKind, RunPhase
from reconciler.errors import Trouble
from reconciler.forge import DeliveryResult
from reconciler.manifests import (
    ACCEPT_ANNOTATION,
    ANNOTATION_EFFECTS,
    CANCEL_ANNOTATION,
    EFFECT,
    FORMERLY_ANNOTATION,
    PRUNE_ANNOTATION,
    RETRY_ANNOTATION,
    UPDATE_ANNOTATION,
    Effect,
)
from reconciler.manifests.json_schema import kind_schema
from reconciler.metrics import DELIVERIES, GATE_RESULTS, PLACES, RESULTS, RETRIERS, Metrics
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.planner.plan import HoldKind
from reconciler.reasons import ReasonCode
from reconciler.reasons.messages import MESSAGES
from reconciler.review.commit_status import CommitState
from reconciler.types import Kind, TaskKind

DOCS = Path(__file__).resolve().parents[1] / "docs"
_WRITTEN = "<!-- Written by `make docs`. -->"
_LONGEST_ENUM = 12


def pages() -> dict[str, str]:
    """Render each generated page, by file name."""
    return {
        "manifests.md": manifests(),
        "configuration.md": configuration(),
        "metrics.md": metrics(),
        "reasons.md": reasons(),
    }


def manifests() -> str:
    """Render the manifests of both kinds, field by field."""
    lines = [
        _WRITTEN,
        "# Manifests",
        "",
        (
            "A document is read as a manifest if its `apiVersion` is `substratus.ai/v1`, or if it "
            "has none and its `kind` is `Model` or `Dataset`. `kind: List` is read as its `items`. "
            "YAML is read by the rules of 1.2."
        ),
        "",
        (
            "All `.yaml`, `.yml` and `.json` files below `repository.path` are looked at. Another "
            "document is passed over, and so is text that cannot be read (larger than 1 MiB, not "
            "UTF-8, a template, JSON by the line), unless it says one of the above, or a manifest "
            "was in that file before. Then it is an error, and nothing is removed while the object "
            "that it is of is unknown: a plan says so. Patterns in `.reconcilerignore`, in the "
            "syntax of `.gitignore`, beside the manifests leave files out for good."
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
        "With `evaluation` a Model's artifact is tested before it is accepted: [gates](gates.md).",
        "With `training.matrix` it is the best of many trainings: [sweeps](sweeps.md).",
        "",
        *_ABOUT_EFFECTS.splitlines(),
        "",
        "| annotation | a change | meaning |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{name}` | {_EFFECTS[effect]} | {_ANNOTATIONS[name]} |"
        for name, effect in ANNOTATION_EFFECTS.items()
    ]
    for kind in Kind:
        lines += ["", f"## {kind}", "", *_sections(kind_schema(kind), level=3, effects=True)]
    return "\n".join(lines) + "\n"


_ABOUT_EFFECTS = """\
What a change of a field does is in the column "a change", and as `x-effect` in the JSON Schemas:

- **changes the key** (`key`): the artifact is made anew, and so is what is made from it; one that
  is there already under the new key is used. Of fields that name a source or another object:
  unless they come to the same tree or artifact.
- **applies to the next run** (`execution`): what is made stays; what runs, goes on. A task that
  has failed runs once more.
- **nothing** (`none`): no task runs for it.

A field at its default is the same as one that is not there.
"""
_EFFECTS = {
    Effect.KEY: "changes the key",
    Effect.EXECUTION: "applies to the next run",
    Effect.NONE: "nothing",
}
_ANNOTATIONS = {
    RETRY_ANNOTATION: "a new value runs what has failed once more",
    UPDATE_ANNOTATION: "a new value takes a pinned source's newest commit",
    ACCEPT_ANNOTATION: "the key of a rejected artifact, or its first 12 digits: accepts it",
    PRUNE_ANNOTATION: '`"false"`: the object stays when its manifest goes',
    FORMERLY_ANNOTATION: ("`[[<cluster>/]<namespace>/]<name>`: a rename that keeps the artifacts"),
    CANCEL_ANNOTATION: "a time: while `spec.suspend` is true, runs created up to it are ended",
}


def configuration() -> str:
    """Render the daemon's configuration, key by key."""
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
`server.metricsObjects` objects have it (1,000 by default): those first that need attention
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
    """Render the daemon's metrics, by name."""
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
    """The values of each label that has a closed list."""
    return {
        "`kind`": [*Kind],
        "`task`": [*TaskKind],
        "`phase` of objects": [*Phase],
        "`phase` of tasks": [*TaskPhase],
        "`phase` of runs": [*RunPhase],
        "`result` of runs": [*RESULTS],
        "`result` of webhooks": [*DeliveryResult],
        "`result` of notifications": [*DELIVERIES],
        "`result` of gates": [*GATE_RESULTS],
        "`result` of reviews": [*CommitState],
        "`by`": [*RETRIERS],
        "`what`": [*CollectedKind],
        "`where`": [*PLACES],
        "`class`": [*Trouble],
        "`kind` of holds": [*HoldKind],
    }


_ABOUT_REASONS = """\
A reason is a code and a message. The code is for programs: it is `reason` in status files, in
`--format json` and in notifications, and a code that is in use is never renamed. The message is
for people: it is rendered from the template below, and its words may change in any version.
`{name}` stands for an argument.
"""


def reasons() -> str:
    """Render every reason code with message, meaning and action."""
    lines = [_WRITTEN, "# Reasons", "", *_ABOUT_REASONS.splitlines()]
    for title, codes in reason_sections().items():
        lines += ["", f"## {title}", "", "| code | message | meaning | what to do |"]
        lines.append("|---|---|---|---|")
        for code in codes:
            entry = MESSAGES[code]
            template = entry.template.replace("|", "\\|")
            meaning, action = _one_line(entry.meaning), _one_line(entry.action.format(file="FILE"))
            lines.append(f"| `{code}` | `` {template} `` | {meaning} | {action} |")
    return "\n".join(lines) + "\n"


def reason_sections() -> dict[str, list[ReasonCode]]:
    """The reason codes by section, a ``# --`` comment of the enum."""
    found: dict[str, list[ReasonCode]] = {}
    title = ""
    for line in inspect.getsource(ReasonCode).splitlines():
        if heading := re.match(r"\s+# -- (.+)", line):
            title = heading[1]
        elif member := re.match(r"\s+([A-Z][A-Z_]*) = ", line):
            found.setdefault(title, []).append(ReasonCode[member[1]])
    return found


def _sections(schema: dict[str, Any], *, level: int, effects: bool = False) -> Iterator[str]:
    """Render one table per mapping of a schema, outer ones first."""
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
        change = " a change |" if effects else ""
        yield f"| field | type | default |{change} meaning |"
        yield f"|---|---|---|{'---|' if effects else ''}---|"
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
            change = f" {_effect(field)} |" if effects else ""
            yield f"| `{name}` | {_type(field, definitions)} | {default} |{change} {meaning} |"


def _effect(field: dict[str, Any]) -> str:
    """The effect of a field in words; empty for a section whose fields have effects."""
    return _EFFECTS[Effect(field[EFFECT])] if EFFECT in field else ""


def _inner(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The mapping in a field, also as items of a collection."""
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
