"""A training in a real browser while it goes on: its curve and its bar grow by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.cluster.ports import free
from tests.e2e.site import Site, stop, until
from tests.patience import PATIENCE
from tests.web.test_browser import CUT_OFF, browser

__all__ = ["browser"]

#: It reports a step each time that a test lets it, and ends with the tenth.
_STEPS = """
step=0
while [ $step -lt 10 ]; do
  step=$((step + 1))
  while [ ! -e "$GATE/$step" ]; do sleep 0.1; done
  metrics="{\\"loss\\": 0.$((100 - step))}"
  text="{\\"progressPercentage\\": ${step}0, \\"step\\": $step, \\"metrics\\": $metrics}"
  echo "$text" > "$PROGRESS_FILE.new"
  mv "$PROGRESS_FILE.new" "$PROGRESS_FILE"
done
echo x > "$MODEL_DIR/weights"
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def url(site: Site, gate: Path) -> Iterator[str]:
    """The page of a daemon with a training that goes on."""
    address = f"127.0.0.1:{free(1)[0]}"
    site.configure(server={"address": address})
    site.trained("m", _STEPS.replace("$GATE", str(gate)))
    site.push()
    process = site.start()
    try:
        until(lambda: site.phases().get("m") == "Training", what="the training")
        yield f"http://{address}"
    finally:
        for step in range(1, 11):
            (gate / str(step)).touch()
        stop(process)


@pytest.mark.parametrize("width", [390, 1280])
def test_curve_and_bar_grow_while_it_trains(
    browser: Browser, url: str, gate: Path, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto(f"{url}/objects/default/models/m")
    bar, curve = page.locator("#head progress"), page.locator(".charts figure path")
    seen: list[int] = []
    for step in range(1, 5):
        (gate / str(step)).touch()
        expect(bar).to_have_attribute("value", f"{step}0.0", timeout=1000 * PATIENCE)
        assert bar.is_visible()
        box = bar.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width
        if step > 1:
            newest = page.locator(".charts figcaption b")
            expect(newest).to_have_text(f"0.{100 - step}", timeout=1000 * PATIENCE)
            seen.append((curve.get_attribute("d") or "").count("L") + 1)
    assert seen == sorted(set(seen)), "each report adds a point"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT_OFF) == []

    for step in range(5, 11):
        (gate / str(step)).touch()
    expect(page.locator("h1 + p .phase")).to_have_text("Ready", timeout=1000 * PATIENCE)
    expect(bar).to_have_count(0, timeout=1000 * PATIENCE)
    assert (curve.get_attribute("d") or "").count("L") + 1 >= seen[-1], "it is kept"
    context.close()
