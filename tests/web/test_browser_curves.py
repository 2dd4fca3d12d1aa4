"""Curves over each other in a real browser: they fit, stand out, and need no JavaScript."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.cluster.ports import free
from tests.e2e.site import Site, stop, until
from tests.web.test_browser import CONTRAST, CUT_OFF, browser

__all__ = ["browser"]

#: Each step is reported; the pause is longer than what the report's reader takes.
_CURVES = """
for step in 1 2 3 4; do
  loss=$(awk "BEGIN {print 1 / ($step * $PARAM_LR)}")
  metrics="{\\"loss\\": $loss, \\"accuracy\\": 0.$step}"
  echo "{\\"step\\": $step, \\"metrics\\": $metrics}" > "$PROGRESS_FILE.new"
  mv "$PROGRESS_FILE.new" "$PROGRESS_FILE"
  sleep 1.5
done
echo "{\\"accuracy\\": $PARAM_LR}" > "$MODEL_DIR/metrics.json"
"""
MATRIX = "    matrix: {params: {lr: [1, 2, 4]}, best: {metric: accuracy, goal: maximize}}\n"
PAGES = ["/objects/default/models/swept?curve=loss", "/compare?sort=accuracy&curve=loss"]
pages = pytest.mark.parametrize("path", PAGES, ids=["object", "compare"])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a daemon that has made a sweep."""
    site = Site(tmp_path_factory.mktemp("curves"))
    address = f"127.0.0.1:{free(1)[0]}"
    site.configure(server={"address": address}, local={"slots": 8})
    site.trained("swept", _CURVES, more=MATRIX)
    site.push()
    process = site.start()
    try:
        until(lambda: site.phases().get("swept") == "Ready", what="the sweep")
        yield f"http://{address}"
    finally:
        stop(process)


def points(page: Page) -> list[int]:
    """The number of points of each curve."""
    paths = page.locator("#overlay figure > svg path").evaluate_all(
        "found => found.map(each => each.getAttribute('d'))"
    )
    return [path.count("L") + 1 for path in paths]


@pages
def test_without_javascript_each_variant_has_a_curve(browser: Browser, url: str, path: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{url}{path}")
    assert len(points(page)) == 3
    assert min(points(page)) >= 2
    legend = page.locator("#overlay .legend li").all_inner_texts()
    assert "lr=4" in legend[0], "the best is first"
    page.locator("#overlay nav a", has_text="accuracy").click()
    assert page.locator("#overlay figcaption").inner_text() == "accuracy"
    page.locator("#overlay .legend a").first.click()
    assert page.locator("h1").inner_text().endswith("swept")
    context.close()


@pages
@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_fit_and_stand_out(
    browser: Browser, url: str, path: str, width: int, scheme: str
) -> None:
    context = browser.new_context(
        color_scheme="light" if scheme == "light" else "dark",
        viewport={"width": width, "height": 800},
    )
    page = context.new_page()
    page.goto(f"{url}{path}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT_OFF) == []
    weak = page.evaluate(CONTRAST)
    assert not weak, json.dumps(weak[:5], indent=1)
    lines = page.locator("#overlay figure > svg path").evaluate_all(_TONES)
    assert len({(tone, dash) for tone, dash, _ in lines}) == len(lines), "they are told apart"
    assert min(contrast for *_, contrast in lines) >= 3, "WCAG 2, 1.4.11"
    context.close()


#: The colour and dash of each line, and its contrast with what is behind it.
_TONES = """
(found) => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => {
    const f = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  return found.map((e) => {
    const style = getComputedStyle(e);
    const back = getComputedStyle(e.ownerSVGElement).backgroundColor;
    const [hi, lo] = [lum(parse(style.stroke)), lum(parse(back))].sort((x, y) => y - x);
    return [style.stroke, style.strokeDasharray, (hi + 0.05) / (lo + 0.05)];
  });
}
"""
