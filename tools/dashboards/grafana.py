"""Panels and dashboards, and the JSON that Grafana 10.1 and newer read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = dict[str, Any]
PanelKind = Literal["stat", "timeseries", "bargauge", "state-timeline", "table"]
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_TAG = "model-reconciler"
#: Units of the grid in which panels are placed.
_GRID = 24
#: The colour of each phase, the same on every panel.
_PHASES = {
    "Invalid": "dark-red",
    "Failed": "red",
    "Rejected": "light-red",
    "Lost": "semi-dark-red",
    "Held": "orange",
    "Waiting": "yellow",
    "Pending": "light-blue",
    "Building": "blue",
    "Loading": "purple",
    "Training": "dark-blue",
    "Evaluating": "semi-dark-blue",
    "Suspended": "gray",
    "Ready": "green",
}
_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OTHERS = {
    "type": "dashboards",
    "title": "Models",
    "tags": [_TAG],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
    "icon": "external link",
    "tooltip": "",
}
_SOURCE_VARIABLE = {
    "type": "datasource",
    "name": "datasource",
    "label": "Prometheus",
    "query": "prometheus",
    "refresh": 1,
    "multi": False,
    "includeAll": False,
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: a PromQL expression for each legend, and the display options."""

    kind: PanelKind
    title: str
    #: Expressions by legend; an empty one is Grafana's own.
    queries: Mapping[str, str]
    meaning: str
    #: In units of the grid, as a width is; a stat has 4, every other kind 8.
    height: int = 0
    unit: str = "short"
    #: Colours by the value from which each holds.
    thresholds: Mapping[float, str] = field(default_factory=dict)
    phases: bool = False
    #: Data links: titles and URLs.
    links: Mapping[str, str] = field(default_factory=dict)
    #: Text shown for no series.
    empty: str = ""
    #: A stat shows the name of the series instead of the value.
    named: bool = False
    stacked: bool = False
    #: A table's labels in order; the hidden ones serve links.
    columns: Sequence[str] = ()
    hidden: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """The height in units of the grid."""
        return self.height or (4 if self.kind == "stat" else 8)

    def to_json(self, number: int, x: int, y: int, width: int) -> JSON:
        """Render the panel at a place in the grid."""
        is_table = self.kind == "table"
        is_instant = self.kind in {"stat", "bargauge", "table"}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.meaning,
            "datasource": _DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": width, "h": self.rows},
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": _DATASOURCE,
                    "expr": expr,
                    "legendFormat": legend or "__auto",
                    "instant": is_instant,
                    "range": not is_instant,
                    "format": "table" if is_table else "time_series",
                }
                for index, (legend, expr) in enumerate(self.queries.items())
            ],
            "fieldConfig": {"defaults": self._defaults(), "overrides": list(self._overrides())},
            "options": self._options(),
            "transformations": [self._organize()] if is_table else [],
        }

    def _defaults(self) -> JSON:
        steps: list[JSON] = [{"color": "text" if self.thresholds else "blue", "value": None}]
        steps += [{"color": colour, "value": float(at)} for at, colour in self.thresholds.items()]
        mode = "palette-classic" if self.kind == "timeseries" else "thresholds"
        return {
            "unit": self.unit,
            "min": 0,
            "color": {"mode": mode},
            "thresholds": {"mode": "absolute", "steps": steps},
            "links": [
                {"title": title, "url": url, "targetBlank": True}
                for title, url in self.links.items()
            ],
            **({"noValue": self.empty} if self.empty else {}),
            "custom": self._custom(),
        }

    def _custom(self) -> JSON:
        match self.kind:
            case "timeseries":
                return {
                    "drawStyle": "line",
                    "lineWidth": 1,
                    "fillOpacity": 40 if self.stacked else 5,
                    "showPoints": "auto",
                    "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                    "thresholdsStyle": {"mode": "line" if self.thresholds else "off"},
                }
            case "state-timeline":
                return {"lineWidth": 0, "fillOpacity": 80}
            case "table":
                cell = {"type": "auto"}
                return {"align": "auto", "cellOptions": cell, "filterable": True, "inspect": False}
            case _:
                return {}

    def _overrides(self) -> Iterator[JSON]:
        if self.kind == "table":
            colours = {
                phase: {"color": colour, "index": index}
                for index, (phase, colour) in enumerate(_PHASES.items())
            }
            mapping = {"type": "value", "options": colours}
            cell = {"id": "custom.cellOptions", "value": {"type": "color-text"}}
            yield _override("phase", {"id": "mappings", "value": [mapping]}, cell)
        for name in self.hidden:
            yield _override(name, {"id": "custom.hidden", "value": True})
        for phase, colour in _PHASES.items() if self.phases else ():
            value = {"mode": "fixed", "fixedColor": colour}
            yield _override(phase, {"id": "color", "value": value})

    def _options(self) -> JSON:
        match self.kind:
            case "stat":
                return {
                    "reduceOptions": _LAST,
                    "orientation": "auto",
                    "textMode": "name" if self.named else "value",
                    "colorMode": "value",
                    "graphMode": "none",
                    "justifyMode": "auto",
                }
            case "timeseries":
                return {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}}
            case "bargauge":
                return {
                    "reduceOptions": _LAST,
                    "orientation": "horizontal",
                    "displayMode": "gradient",
                    "valueMode": "color",
                    "showUnfilled": True,
                    "minVizWidth": 8,
                    "minVizHeight": 10,
                }
            case "state-timeline":
                return {
                    "mergeValues": True,
                    "showValue": "never",
                    "alignValue": "left",
                    "rowHeight": 0.9,
                    "legend": {**_LEGEND, "showLegend": False},
                    "tooltip": {"mode": "single", "sort": "none"},
                }
            case "table":
                return {"showHeader": True, "cellHeight": "sm"}

    def _organize(self) -> JSON:
        order = {name: index for index, name in enumerate([*self.columns, *self.hidden])}
        options = {
            "excludeByName": {"Time": True, "Value": "Value" not in self.columns},
            "indexByName": order,
            "renameByName": {},
        }
        return {"id": "organize", "options": options}


def _override(name: str, *properties: JSON) -> JSON:
    return {"matcher": {"id": "byName", "options": name}, "properties": list(properties)}


def variable(
    name: str, label: str, *, series: str = "", text: str = "", many: bool = False
) -> JSON:
    """Render a variable of a dashboard.

    Its values are those of a label of ``series``, or one ``text`` that is typed. With ``many``,
    several values or all are chosen.
    """
    if text:
        current = {"text": text, "value": text}
        return {
            "type": "textbox",
            "name": name,
            "label": label,
            "query": text,
            "current": current,
            "options": [{**current, "selected": True}],
        }
    found: JSON = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": _DATASOURCE,
        "query": {"query": f"label_values({series}, {name})", "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
    }
    if many:
        found |= {"allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]}}
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a title, each with its width.

    They are placed from left to right and then below.
    """

    title: str
    panels: Sequence[tuple[int, Panel]]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels, and the variables of their queries and links."""

    title: str
    meaning: str
    variables: Sequence[JSON]
    rows: Sequence[Row]
    since: str = "now-6h"

    def to_json(self, name: str) -> JSON:
        """Render the dashboard; ``name`` ends its uid. Grafana numbers it itself."""
        return {
            "uid": f"reconciler-{name}",
            "title": self.title,
            "description": self.meaning,
            "tags": [_TAG],
            "editable": True,
            "graphTooltip": 1,
            "schemaVersion": 36,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": self.since, "to": "now"},
            "templating": {"list": [_SOURCE_VARIABLE, *self.variables]},
            "links": [_OTHERS],
            "panels": list(self._placed()),
        }

    def _placed(self) -> Iterator[JSON]:
        number, top = 0, 0
        for row in self.rows:
            number += 1
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": _GRID, "h": 1},
                "panels": [],
            }
            top, left, below = top + 1, 0, 0
            for width, panel in row.panels:
                if left + width > _GRID:
                    top, left, below = top + below, 0, 0
                number += 1
                yield panel.to_json(number, left, top, width)
                left, below = left + width, max(below, panel.rows)
            top += below
