"""A real Prometheus scrapes a real daemon, and its rules ask for metrics that exist."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.metrics import Metrics
from tests.e2e.panels import as_grafana_asks, missing, on_a_cluster, panel_queries, variables
from tests.e2e.prometheus import ROOT, RULES, ask, check_metrics, prometheus, tool
from tests.e2e.site import Site, until
from tests.e2e.test_operation import get, running
from tests.e2e.troubled_site import more_trouble, troubled
from tests.processes import run
from tools.alerts import FILE, prometheus_rule

_NAME = re.compile(r"\breconciler_\w+")


def alerts() -> dict[str, Any]:
    groups = YAML(typ="safe").load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for g in groups for rule in g["rules"] if "alert" in rule}


def expressions() -> list[str]:
    groups = YAML(typ="safe").load(RULES.read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_the_rules_are_right_and_each_alert_fires_when_it_should() -> None:
    for arguments in (
        ["check", "rules", str(RULES)],
        ["test", "rules", f"{RULES.parent}/rules.test.yaml"],
    ):
        done = run([tool("promtool"), *arguments])
        assert done.returncode == 0, done.stdout + done.stderr
    tested = YAML(typ="safe").load((RULES.parent / "rules.test.yaml").read_text())["tests"]
    firing = {t["alertname"] for s in tested for t in s["alert_rule_test"] if t["exp_alerts"]}
    assert firing == alerts().keys()


def test_the_operators_rules_are_the_same() -> None:
    assert FILE.read_text() == prometheus_rule(), "run `make docs`"
    rule = YAML(typ="safe").load(FILE.read_text())
    assert rule["spec"] == YAML(typ="safe").load(RULES.read_text())


@pytest.mark.parametrize("name", alerts())
def test_every_alert_has_a_runbook(name: str) -> None:
    assert f"\n## {name}\n" in (ROOT / "docs" / "runbooks.md").read_text()
    assert alerts()[name]["annotations"]["runbook"] == f"docs/runbooks.md#{name.lower()}"


def test_rules_ask_for_metrics_that_exist() -> None:
    known = {s.name for family in Metrics().registry.collect() for s in family.samples}
    known |= {family.name for family in Metrics().registry.collect()}
    asked = {name for expression in expressions() for name in _NAME.findall(expression)}
    families = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in asked}
    assert families <= {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in known}


def test_every_query_of_every_panel_and_alert_finds_something(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tool("prometheus")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    troubled(site)
    try:
        with running(site) as url, prometheus(server, url.removeprefix("http://"), tmp_path) as at:
            until(lambda: ask(at, 'reconciler_gpu_seconds_total{name="a"} == 0'), what="a to begin")
            (site.root / "go-a").touch()
            until(lambda: site.phases().get("a") == "Ready", what="a to be Ready")
            more_trouble(site, url)
            wanted = [
                as_grafana_asks(query) for query in panel_queries() if not on_a_cluster(query)
            ]
            wanted += [name for rule in expressions() for name in _NAME.findall(rule)]
            with suppress(AssertionError):  # it would not say which
                until(lambda: not missing(at, wanted), what="data for all queries")
            assert missing(at, wanted) == []
            for expression in expressions():
                ask(at, expression)
            for series, label in variables():
                assert label in ask(at, as_grafana_asks(series))[0]["metric"]
            loaded = json.loads(get(f"{at}/api/v1/rules"))["data"]["groups"]
            assert {group["name"] for group in loaded} == {"reconciler-recording", "reconciler"}
            hours = as_grafana_asks(
                "sum by (name) (increase(reconciler_gpu_seconds_total[$__range]))"
            )
            assert {s["metric"]["name"] for s in ask(at, f"{hours} > 0")} == {"a"}
            assert ask(at, 'reconciler_errors_total{where="fetch",class="missing"} > 0')
            check_metrics(get(f"{url}/metrics"))
    finally:
        (site.root / "go-a").touch()
        (site.root / "go-next").touch()
