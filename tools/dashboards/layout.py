"""Dashboards: rows of panels, the variables they use, and links to the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tools.dashboards.panels import DATASOURCE, Link, Panel

JSON = dict[str, Any]
WIDTH = 24
TAG = "model-reconciler"
_SCHEMA = 36


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable whose values are a label's; ``many``: several may be chosen, or all."""

    name: str
    label: str
    series: str
    many: bool = False

    def to_json(self) -> JSON:
        """As a variable that is asked for whenever the dashboard is opened or the time changes."""
        query = f"label_values({self.series}, {self.name})"
        found: JSON = {
            "type": "query",
            "name": self.name,
            "label": self.label,
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": self.name},
            "refresh": 2,
            "sort": 1,
            "multi": self.many,
            "includeAll": self.many,
        }
        if self.many:
            found |= {"allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]}}
        return found


@dataclass(frozen=True, slots=True)
class Text:
    """A variable that is typed, or replaced in the file: where something of one's own is."""

    name: str
    label: str
    value: str

    def to_json(self) -> JSON:
        """As a box with its default."""
        current = {"text": self.value, "value": self.value}
        return {
            "type": "textbox",
            "name": self.name,
            "label": self.label,
            "query": self.value,
            "current": current,
            "options": [{**current, "selected": True}],
        }


JOB = Choice("job", "Daemon", "reconciler_build_info", many=True)
PLACES = (
    Text(
        "status_url",
        "Status branch",
        "https://git.example.com/team/models/src/branch/reconciler/status/local",
    ),
    Text("page_url", "Status page", "http://localhost:8080"),
    Text("jobs_url", "Jobs of a namespace", "https://headlamp.example.com/c/main/jobs?namespace="),
)
_HERE = "${__data.fields.namespace}/${__data.fields.folder}/${__data.fields.name}"
#: Where a table's row leads that has kind, namespace, name and folder.
OUTSIDE = (
    Link(title="Status file", url="${status_url:raw}/" + _HERE + ".yaml"),
    Link(title="Status page", url="${page_url:raw}/objects/" + _HERE),
    Link(title="Jobs", url="${jobs_url:raw}${__data.fields.namespace}"),
)
INSIDE = Link(
    title="This object",
    url="/d/reconciler-object?${datasource:queryparam}&${job:queryparam}"
    "&var-kind=${__data.fields.kind}&var-namespace=${__data.fields.namespace}"
    "&var-name=${__data.fields.name}&${status_url:queryparam}&${page_url:queryparam}"
    "&${jobs_url:queryparam}&${__url_time_range}",
)


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a title, from left to right and then below."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One of them. ``name`` is the end of its uid."""

    name: str
    title: str
    meaning: str
    variables: Sequence[Choice | Text]
    rows: Sequence[Row]
    since: str = "now-6h"

    def to_json(self) -> JSON:
        """As Grafana keeps it; what a Grafana decides itself (its numbers) is left out."""
        datasource = {
            "type": "datasource",
            "name": "datasource",
            "label": "Prometheus",
            "query": "prometheus",
            "refresh": 1,
            "multi": False,
            "includeAll": False,
        }
        return {
            "uid": f"reconciler-{self.name}",
            "title": self.title,
            "description": self.meaning,
            "tags": [TAG],
            "editable": True,
            "graphTooltip": 1,
            "schemaVersion": _SCHEMA,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": self.since, "to": "now"},
            "templating": {"list": [datasource, *(v.to_json() for v in self.variables)]},
            "links": [_others()],
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
                "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
                "panels": [],
            }
            top, left, below = top + 1, 0, 0
            for panel in row.panels:
                if left + panel.width > WIDTH:
                    top, left, below = top + below, 0, 0
                number += 1
                yield panel.to_json(number, (left, top))
                left, below = left + panel.width, max(below, panel.height)
            top += below


def _others() -> JSON:
    return {
        "type": "dashboards",
        "title": "Models",
        "tags": [TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
    }
