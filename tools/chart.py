"""Write the schema of the Helm chart's values (``make docs``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reconciler.config.schema import config_schema

CHART = Path(__file__).resolve().parents[1] / "deploy" / "chart"
FILE = CHART / "values.schema.json"
#: Sections of reconciler.yaml that are values by themselves.
SECTIONS = ("cluster", "repository", "registry", "buckets", "review")
_PORTS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 1, "maximum": 65535},
    "maxItems": 100,
}
_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"}
_NAMESPACE = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}


def values_schema() -> str:
    """Return the JSON Schema of values.yaml, with the sections of reconciler.yaml."""
    config: dict[str, Any] = _without_lookahead(config_schema())
    sections = config["properties"]
    image = {
        "repository": {"type": "string", "pattern": r"^[^\s@]{1,512}$"},
        "tag": {"type": "string", "pattern": r"^[\w.-]{0,128}$"},
        "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
        "pullSecrets": {"type": "array", "items": _NAME},
    }
    jobs = {"enabled": {"type": "boolean"}, "egress": _PORTS}
    switches = {"enabled": {"type": "boolean"}, "dashboards": {"type": "boolean"}}
    properties = {
        "image": _object(image, "repository"),
        "replicas": {"type": "integer", "minimum": 0, "maximum": 10},
        "secrets": {
            "type": "object",
            # Other volumes of the pod.
            "properties": dict.fromkeys(("config", "state", "tmp"), False),
            "propertyNames": _NAMESPACE,
            "additionalProperties": _NAME,
        },
        "namespaces": {"type": "array", "items": _NAMESPACE, "uniqueItems": True},
        "persistentVolumes": {"type": "boolean"},
        "queues": {"type": "boolean"},
        **{name: sections[name] for name in SECTIONS},
        # On a cluster the daemon needs both.
        "registry": {"$ref": "#/$defs/RegistrySection"},
        "buckets": {**sections["buckets"], "required": ["default"]},
        "config": _object({k: v for k, v in sections.items() if k not in SECTIONS}),
        "network": _object({"egress": _PORTS, "jobs": _object(jobs)}),
        "monitoring": _object(switches),
        "resources": {"type": "object"},
        # Of a chart that this one is a part of.
        "global": {"type": "object"},
    }
    schema = {
        "$schema": config["$schema"],
        "$defs": config["$defs"],
        **_object(properties, "image", "repository"),
    }
    return json.dumps(schema, indent=2) + "\n"


def _without_lookahead(value: Any) -> Any:
    """Leave out patterns that Helm's engine (RE2) cannot compile; the daemon still checks them."""
    if isinstance(value, list):
        return [_without_lookahead(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _without_lookahead(item)
            for key, item in value.items()
            if not (key == "pattern" and isinstance(item, str) and "(?" in item)
        }
    return value


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


if __name__ == "__main__":
    FILE.write_text(values_schema())
