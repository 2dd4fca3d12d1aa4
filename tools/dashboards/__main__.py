"""Write the dashboards into deploy/grafana (``make docs``)."""

from __future__ import annotations

from pathlib import Path

from tools.dashboards import files

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "grafana"

for name, text in files().items():
    (FOLDER / name).write_text(text)
