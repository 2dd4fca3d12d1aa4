"""Gates, prices and collections in a real browser: they fit, stand out, and need no JavaScript."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser

from tests.cluster.ports import free
from tests.e2e.site import Site, stop, until
from tests.web.test_browser import CONTRAST, CUT_OFF, browser

__all__ = ["browser"]

_TRAIN = """
echo "{\\"accuracy\\": $PARAM_ACCURACY}" > "$MODEL_DIR/metrics.json"
echo trained > "$MODEL_DIR/weights"
"""
#: At the level of ``training``'s fields, and then of the manifest's ``spec``.
_MORE = "    resources: {cpu: 1}\n  evaluation: {require: ['accuracy >= 0.9']}\n"
_PROMOTED = """\
kind: Model
metadata: {name: production}
spec: {source: {model: {name: gated}}, load: {command: []}}
"""
PAGES = ["/", "/objects/default/models/gated", "/objects/default/models/production", "/compare"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a daemon with a rejected artifact, costs, and an artifact to be collected."""
    site = Site(tmp_path_factory.mktemp("loop"))
    address = f"127.0.0.1:{free(1)[0]}"
    site.configure(
        server={"address": address},
        prices={"currency": "EUR", "cpu": 360000},
        retention={"enabled": False, "keep": 1, "days": 0, "grace": "7d", "maxShare": 1.0},
    )
    site.trained("gated", _TRAIN, params={"accuracy": 0.93}, more=_MORE)
    site.write("production.yaml", _PROMOTED)
    assert site.sync().returncode == 0
    for before, after in ((0.93, 0.95), (0.95, 0.4)):
        site.edit("gated.yaml", f'"accuracy": {before}', f'"accuracy": {after}')
        site.sync()
    assert site.phases() == {"gated": "Rejected", "production": "Ready"}
    process = site.start()
    try:
        until(
            lambda: "\N{MULTIPLICATION SIGN} " in _read(f"http://{address}/"), what="the collection"
        )
        yield f"http://{address}"
    finally:
        stop(process)


def _read(url: str) -> str:
    try:
        with urlopen(url, timeout=30) as answer:
            text: str = answer.read().decode()
    except OSError:  # the daemon does not listen yet
        return ""
    return text


def test_without_javascript_gate_price_and_collection_are_there(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()

    def text(path: str) -> str:
        page.goto(f"{url}{path}")
        for summary in page.locator("main details:not([open]) > summary").all():
            summary.click()
        return page.inner_text("main")

    overview, gated, production, compared = (text(path) for path in PAGES)
    assert "Rejected" in overview
    assert "\N{MULTIPLICATION SIGN} " in overview, "what a collection would take"
    assert "accuracy >= 0.9 (found 0.4)" in gated
    assert "Spent, as an estimate: EUR" in gated
    assert gated.count("EUR") >= 4, "of each training, too"
    assert "0.95" in production, "it serves what was accepted"
    assert "0.93" in compared
    assert compared.count("EUR") == 3, "of each artifact"
    context.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_fit_and_stand_out(browser: Browser, url: str, width: int, scheme: str) -> None:
    context = browser.new_context(
        color_scheme="light" if scheme == "light" else "dark",
        viewport={"width": width, "height": 800},
    )
    page = context.new_page()
    for path in PAGES:
        page.goto(f"{url}{path}")
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate(CUT_OFF) == [], path
        weak = page.evaluate(CONTRAST)
        assert not weak, f"{path}: {json.dumps(weak[:5], indent=1)}"
    context.close()
