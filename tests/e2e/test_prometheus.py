"""A real Prometheus scrapes a real daemon, and its rules ask for metrics that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.metrics import Metrics
from tests.e2e.site import Site, until
from tests.e2e.test_operation import GOOD, get, ready, running

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
_NAME = re.compile(r"\breconciler_\w+")


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"{name} is not installed (Debian's package prometheus has it)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


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
        done = subprocess.run(
            [tool("promtool"), *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    tested = YAML(typ="safe").load((RULES.parent / "rules.test.yaml").read_text())["tests"]
    firing = {t["alertname"] for s in tested for t in s["alert_rule_test"] if t["exp_alerts"]}
    assert firing == alerts().keys()


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


def test_a_prometheus_gets_data_for_every_metric_of_every_rule(site: Site, tmp_path: Path) -> None:
    server = tool("prometheus")
    site.configure(server={"address": "127.0.0.1:0"})
    site.script("src/a/train.sh", GOOD)
    site.scratch("a")
    site.push()
    with running(site) as url:
        until(lambda: ready(url), what="the first sync")
        until(lambda: site.phases().get("a") == "Ready", what="a to be Ready")
        done = subprocess.run(
            [tool("promtool"), "check", "metrics"],
            input=get(f"{url}/metrics"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with prometheus(server, url.removeprefix("http://"), tmp_path) as at:
            until(lambda: ask(at, "up == 1"), what="a scrape")
            asked = {name for expression in expressions() for name in _NAME.findall(expression)}
            missing = [name for name in sorted(asked) if not ask(at, name)]
            assert missing == []
            for expression in expressions():
                ask(at, expression)
            loaded = json.loads(get(f"{at}/api/v1/rules"))["data"]["groups"]
            assert {group["name"] for group in loaded} == {"reconciler-recording", "reconciler"}


def ask(at: str, query: str) -> list[Any]:
    answer = json.loads(get(f"{at}/api/v1/query?query={urllib.parse.quote(query)}"))
    assert answer["status"] == "success", answer
    found: list[Any] = answer["data"]["result"]
    return found


@contextmanager
def prometheus(server: str, target: str, folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes the target every second, for as long as the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "reconciler", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                server,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        at = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{at}/-/ready"), what="Prometheus")
        yield at
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    try:
        return "Ready" in get(url)
    except OSError:
        return False
