"""Files that the docs name are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"`((?:reconciler|tests|tools|benchmarks)/[\w/.-]+\.(?:py|sh|html|yaml))`")


def test_a_path_that_a_page_names_is_there() -> None:
    named = {(page.name, path) for page in PAGES for path in NAMED.findall(page.read_text())}
    assert len(named) > 20
    assert sorted(each for each in named if not (ROOT / each[1]).exists()) == []


def test_a_module_that_the_data_flow_names_is_in_the_package_that_it_names() -> None:
    text = (ROOT / "docs" / "design.md").read_text()
    flow = text[text.index("## The data flow") : text.index("## Formats that outlive")]
    steps = re.split(r"(?m)^\d+\. ", flow)[1:]
    assert len(steps) == 6
    for step in steps:
        folders = re.findall(r"`(\w+)/", step)
        for module in re.findall(r"`(\w+\.py)`", step):
            places = [ROOT / "reconciler" / folder / module for folder in folders]
            assert any(place.exists() for place in places), f"{module} in {folders}"
