"""Grafana dashboards in deploy/grafana, written from the table in dashboards.yaml."""

from __future__ import annotations

import json
from pathlib import Path

from ruamel.yaml import YAML

from tools.dashboards.grafana import JSON, Dashboard, Panel, PanelKind, Row, variable

_TABLE = Path(__file__).with_name("dashboards.yaml")
#: The selector of the one object that a dashboard is opened for.
_OBJECT = 'namespace="$namespace",kind="$kind",name="$name"'
#: Grafana's panel types, by their names in the table.
_KINDS: dict[str, PanelKind] = {
    "stat": "stat",
    "lines": "timeseries",
    "bars": "bargauge",
    "states": "state-timeline",
    "table": "table",
}


def files() -> dict[str, str]:
    """Render each dashboard as JSON, by file name."""
    table = YAML(typ="safe").load(_TABLE.read_text().replace("OBJECT", _OBJECT))
    rendered = {name: _render(name, one, table) for name, one in table["dashboards"].items()}
    return {
        f"{name}.json": json.dumps(one, indent=2, ensure_ascii=False) + "\n"
        for name, one in rendered.items()
    }


def _render(name: str, one: JSON, table: JSON) -> JSON:
    variables = [variable(name, **table["variables"][name]) for name in one.pop("variables")]
    rows = [
        Row(title, [_panel(p, g["width"], table["links"]) for g in groups for p in g["panels"]])
        for title, groups in one.pop("rows").items()
    ]
    return Dashboard(variables=variables, rows=rows, **one).to_json(name)


def _panel(one: JSON, width: int, links: dict[str, str]) -> tuple[int, Panel]:
    (short,) = one.keys() & _KINDS.keys()
    queries = one.get("queries") or {one.get("legend", ""): one["query"]}
    show = one.get("show", {})
    show["links"] = {title: links[title] for title in show.get("links", ())}
    placed = show.pop("width", width)
    return placed, Panel(_KINDS[short], one[short], queries, one["meaning"], **show)
