"""Write the alert rules as a PrometheusRule (``make docs``)."""

from __future__ import annotations

import io
from pathlib import Path

from ruamel.yaml import YAML

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
FILE = DEPLOY / "components" / "monitoring" / "prometheusrule.yaml"
_RULES = DEPLOY / "prometheus" / "rules.yaml"
_WRITTEN = "# Written by `make docs` from deploy/prometheus/rules.yaml.\n"


def prometheus_rule() -> str:
    """The groups of rules in a PrometheusRule."""
    groups = YAML(typ="safe").load(_RULES.read_text())["groups"]
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "reconciler", "namespace": "reconciler"},
        "spec": {"groups": groups},
    }
    yaml = YAML()
    yaml.width = 1000
    text = io.StringIO()
    yaml.dump(document, text)
    return _WRITTEN + text.getvalue()


if __name__ == "__main__":
    FILE.write_text(prometheus_rule())
