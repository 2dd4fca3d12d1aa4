"""Panels by what they show, and the JSON that Grafana 10.1 and newer read for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

JSON = dict[str, Any]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

#: The colour of each phase, the same on every panel.
PHASES = {
    "Invalid": "dark-red",
    "Failed": "red",
    "Held": "orange",
    "Waiting": "yellow",
    "Pending": "light-blue",
    "Building": "blue",
    "Loading": "purple",
    "Training": "dark-blue",
    "Suspended": "gray",
    "Ready": "green",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a value leads."""

    title: str
    url: str

    def to_json(self) -> JSON:
        """As a data link."""
        return {"title": self.title, "url": self.url, "targetBlank": True}


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression. ``legend`` names its series by their labels."""

    expr: str
    legend: str = ""

    def to_json(self, ref: str, *, now: bool, table: bool) -> JSON:
        """As a target; ``now``: the last value alone."""
        return {
            "refId": ref,
            "datasource": DATASOURCE,
            "expr": self.expr,
            "legendFormat": self.legend or "__auto",
            "instant": now,
            "range": not now,
            "format": "table" if table else "time_series",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What all panels have. Sizes are in the grid's units, of which a row has 24."""

    title: str
    queries: Sequence[Query]
    meaning: str
    width: int
    height: int = 8
    unit: str = "short"
    #: From which value on a colour holds.
    thresholds: Mapping[float, str] = field(default_factory=dict)
    phases: bool = False
    links: Sequence[Link] = ()
    #: What is shown where there is no series.
    empty: str = ""

    kind = ""
    now = False
    table = False

    def to_json(self, number: int, at: tuple[int, int]) -> JSON:
        """At a place in the grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.meaning,
            "datasource": DATASOURCE,
            "gridPos": {"x": at[0], "y": at[1], "w": self.width, "h": self.height},
            "targets": [
                query.to_json(chr(ord("A") + index), now=self.now, table=self.table)
                for index, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.options(),
            "transformations": self.transformations(),
        }

    def defaults(self) -> JSON:
        """How every field is shown."""
        steps: list[JSON] = [{"color": "text" if self.thresholds else "blue", "value": None}]
        steps += [{"color": colour, "value": value} for value, colour in self.thresholds.items()]
        return {
            "unit": self.unit,
            "min": 0,
            "color": {"mode": "thresholds"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "links": [link.to_json() for link in self.links],
            **({"noValue": self.empty} if self.empty else {}),
            "custom": self.custom(),
        }

    def overrides(self) -> list[JSON]:
        """How some fields are shown."""
        if not self.phases:
            return []
        return [
            {
                "matcher": {"id": "byName", "options": phase},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
            }
            for phase, colour in PHASES.items()
        ]

    def custom(self) -> JSON:
        """What only this kind of panel has."""
        return {}

    def options(self) -> JSON:
        """Of this kind of panel."""
        return {}

    def transformations(self) -> list[JSON]:
        """What is done to the answers before they are shown."""
        return []


_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
_TOOLTIP = {"mode": "multi", "sort": "desc"}
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Panel):
    """One number; with ``named`` the name of the series instead."""

    height: int = 4
    named: bool = False

    kind = "stat"
    now = True

    def options(self) -> JSON:
        """The number in its colour."""
        return {
            "reduceOptions": _LAST,
            "orientation": "auto",
            "textMode": "name" if self.named else "value",
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(Panel):
    """Values over time; ``stacked`` where their sum means something."""

    stacked: bool = False

    kind = "timeseries"

    def defaults(self) -> JSON:
        """A colour for each series."""
        return {**Panel.defaults(self), "color": {"mode": "palette-classic"}}

    def custom(self) -> JSON:
        """Lines, with areas where they are stacked."""
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if self.stacked else 5,
            "showPoints": "auto",
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if self.thresholds else "off"},
        }

    def options(self) -> JSON:
        """A legend below."""
        return {"legend": _LEGEND, "tooltip": _TOOLTIP}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars(Panel):
    """Values now, beside each other."""

    kind = "bargauge"
    now = True

    def options(self) -> JSON:
        """Lying, the longest first as the query has them."""
        return {
            "reduceOptions": _LAST,
            "orientation": "horizontal",
            "displayMode": "gradient",
            "valueMode": "color",
            "showUnfilled": True,
            "minVizWidth": 8,
            "minVizHeight": 10,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class States(Panel):
    """Since when something is so."""

    kind = "state-timeline"

    def custom(self) -> JSON:
        """Filled."""
        return {"lineWidth": 0, "fillOpacity": 80}

    def options(self) -> JSON:
        """One lane a series."""
        return {
            "mergeValues": True,
            "showValue": "never",
            "alignValue": "left",
            "rowHeight": 0.9,
            "legend": {**_LEGEND, "showLegend": False},
            "tooltip": {"mode": "single", "sort": "none"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(Panel):
    """Series by their labels, now: ``columns`` in their order. Those ``hidden`` serve links."""

    columns: Sequence[str]
    hidden: Sequence[str] = ()

    kind = "table"
    now = True
    table = True

    def custom(self) -> JSON:
        """Cells that can be sorted and filtered by."""
        return {
            "align": "auto",
            "cellOptions": {"type": "auto"},
            "filterable": True,
            "inspect": False,
        }

    def overrides(self) -> list[JSON]:
        """Colours of phases, and what is not shown."""
        mapping = {
            phase: {"color": colour, "index": n} for n, (phase, colour) in enumerate(PHASES.items())
        }
        phase = {
            "matcher": {"id": "byName", "options": "phase"},
            "properties": [
                {"id": "mappings", "value": [{"type": "value", "options": mapping}]},
                {"id": "custom.cellOptions", "value": {"type": "color-text"}},
            ],
        }
        return [
            phase,
            *(
                {
                    "matcher": {"id": "byName", "options": name},
                    "properties": [{"id": "custom.hidden", "value": True}],
                }
                for name in self.hidden
            ),
        ]

    def options(self) -> JSON:
        """A header, small rows."""
        return {"showHeader": True, "cellHeight": "sm"}

    def transformations(self) -> list[JSON]:
        """Labels in their order, without the time and the value."""
        order = {name: index for index, name in enumerate([*self.columns, *self.hidden])}
        return [
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True, "Value": True},
                    "indexByName": order,
                    "renameByName": {},
                },
            }
        ]
