"""The dashboards, drawn by Grafana's own libraries from a real Prometheus, in a real browser.

What draws, formats, transforms and lays out is Grafana's; its server is not here, so the wiring is
the tests' own, and a state timeline is drawn as a time series. ``make test-dashboards`` builds the
page first. A run of all tests has these where it was built before, and skips them elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, expect, sync_playwright

from tests.e2e.panels import on_a_cluster
from tests.e2e.prometheus import ROOT, ask, prometheus, tool
from tests.e2e.site import GOOD, Site, until
from tests.e2e.test_operation import running
from tests.e2e.troubled_site import more_trouble, trained, troubled
from tests.grafana.build import built
from tests.grafana.server import DashboardServer
from tests.needs import program
from tests.patience import PATIENCE

FOLDER = ROOT / "deploy" / "grafana"
#: The object of the dashboard of one: it is Ready, and stays so.
DONE = "done"
ASKED = f"var-namespace=default&var-kind=Model&var-name={DONE}"
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))
#: Pixels: a usual width, and the height of a unit of the grid.
WIDTH, UNIT = 1500, 38
#: As a folder: where pictures of the dashboards are written to, for docs/images.
PICTURES = "DASHBOARD_PICTURES"
#: Icons and fonts, which Grafana's server has and no package.
_PUBLIC = "/public/"
_ASKED = "() => window.prometheus?.asked ?? []"
_CUT = """() => [...document.querySelectorAll('h1, h2, h6, [title]')]
  .filter((each) => getComputedStyle(each).textOverflow === 'ellipsis')
  .filter((each) => each.scrollWidth > each.clientWidth)
  .map((each) => each.textContent)"""


@dataclass(frozen=True)
class Drawn:
    """The server of the page, and the browser that shows it."""

    url: str
    browser: Browser


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    page = built()
    if page is None:
        pytest.skip("the page of Grafana's libraries is not built: make test-dashboards")
    chromium = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    server = tool("prometheus")
    folder = tmp_path_factory.mktemp("dashboards")
    (folder / "site").mkdir()
    site = Site(folder / "site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "0")
        trained(site, DONE, 1, GOOD)
        troubled(site)
        try:
            with (
                running(site) as daemon,
                prometheus(server, daemon.removeprefix("http://"), folder) as metrics,
                closing(DashboardServer(page, metrics)) as served,
                sync_playwright() as playwright,
            ):
                seen = 'reconciler_gpu_seconds_total{name="a"} == 0'
                until(lambda: ask(metrics, seen), what="a to begin")
                (site.root / "go-a").touch()
                until(
                    lambda: {site.phases().get(name) for name in ("a", DONE)} == {"Ready"},
                    what="a and the other to be Ready",
                )
                more_trouble(site, daemon)
                browser = playwright.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
                )
                yield Drawn(served.url, browser)
                browser.close()
        finally:
            for name in ("go-a", "go-next"):
                (site.root / name).touch()


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_drawn_whole(drawn: Drawn, name: str, tmp_path: Path) -> None:
    dashboard = json.loads((FOLDER / f"{name}.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    page = drawn.browser.new_page(viewport={"width": WIDTH, "height": UNIT * height + 120})
    complaints: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        if said.type == "error" and _PUBLIC not in said.location["url"]:
            complaints.append(said.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{drawn.url}/?d={name}&from=now-5m&{ASKED}")
    queries = sum(len(panel["targets"]) for panel in panels)
    until(lambda: len(page.evaluate(_ASKED)) >= queries, what="an answer to each query")
    if folder := os.environ.get(PICTURES):
        page.screenshot(path=Path(folder) / f"dashboard-{name}.png", full_page=True)
    for panel in panels:
        frame = page.get_by_test_id(f"data-testid Panel header {panel['title']}")
        expect(frame).to_be_visible(timeout=1000 * PATIENCE)
        if not any(on_a_cluster(target["expr"]) for target in panel["targets"]):
            expect(frame.get_by_text("No data")).to_have_count(0, timeout=1000 * PATIENCE)
    assert (page.evaluate(_CUT), complaints) == ([], [])
    page.close()


def test_a_panel_without_data_would_be_seen(drawn: Drawn) -> None:
    """The check that finds no panel without data can find one."""
    page = drawn.browser.new_page(viewport={"width": WIDTH, "height": 900})
    page.goto(
        f"{drawn.url}/?d=object&from=now-5m&var-namespace=default&var-kind=Model&var-name=wrong"
    )
    expect(page.get_by_text("No data").first).to_be_visible(timeout=1000 * PATIENCE)
    page.close()
