"""What the dashboards ask a Prometheus, and whether it has an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from tests.e2e.prometheus import ROOT, finds

#: Of metrics that there are with a cluster alone.
ON_A_CLUSTER = ("reconciler_api_requests_total",)


def panel_queries() -> list[str]:
    return [
        target["expr"]
        for dashboard in dashboards()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def on_a_cluster(query: str) -> bool:
    """Whether the local engine can have no answer to it."""
    return any(name in query for name in ON_A_CLUSTER)


def variables() -> list[tuple[str, str]]:
    """The series and the label that each variable takes its values from."""
    asked = [v for d in dashboards() for v in d["templating"]["list"] if v["type"] == "query"]
    pattern = re.compile(r"label_values\((.*), (\w+)\)")
    found = [pattern.fullmatch(variable["query"]["query"]) for variable in asked]
    return [(match[1], match[2]) for match in found if match is not None]


def dashboards() -> list[Any]:
    found = [json.loads(f.read_text()) for f in (ROOT / "deploy" / "grafana").glob("*.json")]
    assert len(found) == 3
    return found


def as_grafana_asks(query: str, *, namespace: str = "default", name: str = "a") -> str:
    """With variables as they are when somebody looks at a Model."""
    values = {
        "__rate_interval": "5m",
        "__range": "1h",
        "job": ".+",
        "kind": "Model",
        "namespace": namespace,
        "name": name,
    }
    for variable, value in values.items():
        query = re.sub(rf"\${variable}\b", value, query)
    assert "$" not in query
    return query


def missing(at: str, queries: Iterable[str], *, ago: float = 0) -> list[str]:
    return [query for query in dict.fromkeys(queries) if not finds(at, query, ago=ago)]
