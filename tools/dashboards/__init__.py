"""Grafana's dashboards, as they are in deploy/grafana: what is on them, how, by which queries."""

from __future__ import annotations

import json

from tools.dashboards import daemon, overview, single


def files() -> dict[str, str]:
    """The text of each dashboard, by file name."""
    made = (overview.dashboard(), single.dashboard(), daemon.dashboard())
    return {
        f"{one.name}.json": json.dumps(one.to_json(), indent=2, ensure_ascii=False) + "\n"
        for one in made
    }
