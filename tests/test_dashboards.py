"""Dashboards are as they are written from, as Grafana's own types have them, and lead somewhere.

No Grafana can be had here. Whether their queries find anything is tested with a real Prometheus,
in tests/e2e/test_prometheus.py.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import Runtime
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from reconciler.metrics import Metrics
from reconciler.planner.names import status_path
from reconciler.types import Kind, ObjectRef
from tests.cluster.cluster import Cluster
from tools.dashboards import files

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
FOLDER = DEPLOY / "grafana"
ALL = {file.name: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}
#: What Grafana itself defines, and in links what a row has.
BUILT_IN = {"__rate_interval", "__range", "__url_time_range", "__data", "__all"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)|(\w+))")
_SELECTOR = re.compile(r"(reconciler_\w+)\{([^}]*)\}")

dashboards = pytest.mark.parametrize("dashboard", ALL.values(), ids=ALL)


def panels(dashboard: Any) -> list[Any]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Any) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def variables(dashboard: Any) -> set[str]:
    return {variable["name"] for variable in dashboard["templating"]["list"]}


def test_the_dashboards_in_the_repository_are_those_that_the_tool_writes() -> None:
    assert {name: (FOLDER / name).read_text() for name in ALL} == files(), "run `make docs`"


@dashboards
def test_grafanas_own_types_know_every_field(dashboard: Any) -> None:
    """What they do not know is lost on the way through them."""
    register_default_plugins()
    known = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(dashboard)))
    assert lost(dashboard, known, "") == []
    for panel in panels(dashboard):
        assert panel["type"] in Runtime().panelcfg_variants
        assert panel["fieldConfig"]["defaults"]["unit"] in vars(units).values()


def lost(ours: Any, theirs: Any, place: str) -> list[str]:
    """The places of what is in ours and not in theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            found
            for name, value in ours.items()
            for found in lost(value, theirs.get(name), f"{place}.{name}")
            if value not in (None, [], {}) or name in theirs
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [found for n, (a, b) in pairs for found in lost(a, b, f"{place}[{n}]")]
    return [] if ours == theirs else [place]


def test_what_is_lost_is_noticed() -> None:
    register_default_plugins()
    wrong = json.loads(json.dumps(ALL["overview.json"]))
    panels(wrong)[0]["options"]["colourMode"] = "value"
    known = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(wrong)))
    (place,) = lost(wrong, known, "")
    assert place.endswith("options.colourMode")


@dashboards
def test_panels_have_ids_of_their_own_and_do_not_overlap(dashboard: Any) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells: Counter[tuple[int, int]] = Counter()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        columns, rows = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells.update((x, y) for x in columns for y in rows)
    assert max(cells.values()) == 1


@dashboards
def test_every_panel_says_what_it_shows_and_asks_the_chosen_prometheus(dashboard: Any) -> None:
    for panel in panels(dashboard):
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert {t["datasource"]["uid"] for t in panel["targets"]} == {"${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0


@dashboards
def test_every_variable_that_is_used_is_defined_and_the_other_way_round(dashboard: Any) -> None:
    text = json.dumps(dashboard)
    used = {braced or plain for braced, plain in _VARIABLE.findall(text)}
    assert used - BUILT_IN == variables(dashboard)


@dashboards
def test_queries_ask_for_metrics_and_labels_that_exist(dashboard: Any) -> None:
    known = {metric.name: metric for metric in Metrics().defined}
    asked = [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    for expr in (*queries(dashboard), *asked):
        for name, selector in _SELECTOR.findall(expr):
            metric = known.get(name) or known[re.sub("_(bucket|count|sum)$", "", name)]
            labels = set(re.findall(r"(\w+)=", selector))
            assert "job" in labels, f"{expr} asks for every daemon's"
            assert labels <= {"job", *metric.labels}, expr


def test_no_uid_and_no_title_is_used_twice() -> None:
    for field in ("uid", "title"):
        assert len({dashboard[field] for dashboard in ALL.values()}) == len(ALL)


@pytest.mark.parametrize("kind", Kind)
def test_links_lead_to_the_object_its_status_file_and_its_page(kind: Kind) -> None:
    table = next(p for p in panels(ALL["overview.json"]) if p["type"] == "table")
    links = {link["title"]: link["url"] for link in table["fieldConfig"]["defaults"]["links"]}
    ref = ObjectRef(kind, "team", "falcon")
    row = {"kind": kind.value, "namespace": "team", "name": "falcon", "folder": folder(kind)}
    given = {
        "status_url:raw": "https://f/b",
        "page_url:raw": "https://p",
        "jobs_url:raw": "https://j/",
    }
    for name, value in row.items():
        given[f"__data.fields.{name}"] = value
    filled = {title: fill(url, given) for title, url in links.items()}
    assert filled["Status file"] == f"https://f/b/{status_path(ref)}"
    assert filled["Status page"] == f"https://p/objects/team/{kind.plural}/falcon"
    assert filled["Jobs"] == "https://j/team"
    path, _, query = filled["This object"].partition("?")
    assert path == f"/d/{ALL['object.json']['uid']}"
    assert f"var-kind={kind}&var-namespace=team&var-name=falcon" in query
    passed = set(re.findall(r"var-(\w+)=|\$\{(\w+):queryparam", query))
    assert {a or b for a, b in passed} == variables(ALL["object.json"])


def fill(url: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{([^}]+)\}", lambda m: values.get(m[1], m[0]), url)


def folder(kind: Kind) -> str:
    """As the query makes it up."""
    (expr,) = [e for e in queries(ALL["overview.json"]) if "label_replace" in e]
    made: dict[str, str] = {
        name: value for value, name in re.findall(r'"folder", "(\w+)", "kind", "(\w+)"', expr)
    }
    return made[kind.value]


def test_the_component_adds_a_config_map_that_grafanas_sidecar_finds(
    own_control_plane: Cluster, tmp_path: Path
) -> None:
    there = os.path.relpath(DEPLOY, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{there}/overlays/single]\ncomponents: [{there}/components/dashboards]\n"
    )
    made = own_control_plane.kubectl("kustomize", str(tmp_path))
    own_control_plane.kubectl("apply", "--server-side", f"--kustomize={DEPLOY / 'namespaces'}")
    own_control_plane.kubectl("apply", "--server-side", "--filename=-", given=made)
    found = json.loads(
        own_control_plane.kubectl(
            "--namespace=reconciler", "get", "configmap", "--selector=grafana_dashboard=1",
            "--output=json",
        )
    )  # fmt: skip
    (item,) = found["items"]
    assert {name: json.loads(text) for name, text in item["data"].items()} == ALL
