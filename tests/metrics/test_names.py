"""What is served is documented, and valid."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from tests.metrics.watched import GPU, Watched, families
from tests.planner.world import scratch

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_documentation_and_the_program_name_the_same_metrics() -> None:
    watched = Watched(a=scratch("a", GPU))
    watched.build()
    watched.world.start(watched.run("a"))
    watched.sync()
    rows = re.findall(
        r"^\| `(reconciler_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", DOCS.read_text(), re.M
    )
    told = {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels, _ in rows}
    served = {}
    for family in families(watched.metrics):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        served[name] = (family.type, labels - {"le"} or told[name][1])
    assert served == told


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    watched = Watched(a=scratch("a", GPU))
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(watched.metrics.registry),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
