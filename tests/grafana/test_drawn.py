"""The dashboards, drawn by Grafana's own libraries from a real Prometheus, in a real browser.

What draws, formats, transforms and lays out is Grafana's; its server is not here, so the wiring is
the tests' own, and a state timeline is drawn as a time series. What is drawn are the examples,
what goes wrong beside them, and a daemon in front of a cluster: of these, every panel has data.
``make test-dashboards`` builds the page first. A run of all tests has these where it was built
before, and skips them elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import ClusterSite, daemon
from tests.e2e.panels import as_grafana_asks, missing
from tests.e2e.prometheus import ROOT, ask, prometheus, tool
from tests.e2e.site import GOOD, Site, until
from tests.e2e.test_cluster_metrics import Served
from tests.e2e.test_operation import running
from tests.e2e.troubled_site import more_trouble, trained, troubled
from tests.examples.manifests import EXAMPLES, manifests
from tests.grafana.build import built
from tests.grafana.server import DashboardServer
from tests.needs import program
from tests.patience import PATIENCE

#: Its site installs the examples' requirements, and trains them.
pytestmark = pytest.mark.timeout(1200)

FOLDER = ROOT / "deploy" / "grafana"
#: The object of the dashboard of one: an example, which is Ready, and stays so.
SHOWN = "sweep-hidden"
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))
#: Pixels: a usual width, and the height of a unit of the grid.
WIDTH, UNIT = 1500, 38
#: Less, and not as little as a telephone has, where each panel has the whole width.
NARROW = 800
#: Seconds between two points of a graph, at most, so that the last one has what was there before.
STEP = 10
#: Milliseconds, of what the browser is going to show.
LONG = 1000 * PATIENCE
#: As a folder: where pictures of the dashboards are written to, for docs/images.
PICTURES = "DASHBOARD_PICTURES"
#: Icons and fonts, which Grafana's server has and no package.
_PUBLIC = "/public/"
_ASKED = "() => window.prometheus?.asked ?? []"
_CUT = """() => [...document.querySelectorAll('h1, h2, h6, [title]')]
  .filter((each) => getComputedStyle(each).textOverflow === 'ellipsis')
  .filter((each) => each.scrollWidth > each.clientWidth)
  .map((each) => each.textContent)"""
#: Whether a canvas has a colour, which lines have, and axes and their texts have not.
_COLOURED = """(canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < data.length; at += 4) {
    const colour = [...data.subarray(at, at + 3)];
    if (data[at + 3] > 50 && Math.max(...colour) - Math.min(...colour) > 60) return true;
  }
  return false;
}"""
_GRAPHS = ("timeseries", "state-timeline")


@dataclass(frozen=True)
class Drawn:
    """The server of the page, the browser that shows it, and the time that it shows."""

    url: str
    browser: Browser
    since: str

    def new_page(self, dashboard: str, *, width: int = WIDTH) -> Page:
        """An empty page that is as tall as a dashboard."""
        at = [panel["gridPos"] for panel in panels(dashboard)]
        height = UNIT * max(each["y"] + each["h"] for each in at) + 120
        return self.browser.new_page(viewport={"width": width, "height": height})

    def show(self, page: Page, dashboard: str) -> None:
        """A dashboard; that of one object is of the one that is shown."""
        asked = f"d={dashboard}&from={self.since}&var-namespace=default&var-kind=Model"
        page.goto(f"{self.url}/?{asked}&var-name={SHOWN}")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, module_namespace: Namespace) -> Iterator[Drawn]:
    page = built()
    if page is None:
        pytest.skip("the page of Grafana's libraries is not built: make test-dashboards")
    chromium = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    server = tool("prometheus")
    folder = tmp_path_factory.mktemp("dashboards")
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("CUDA_VISIBLE_DEVICES", "0")
        cluster = stack.enter_context(a_cluster(folder / "cluster", module_namespace))
        site = examples_and_troubles(folder / "site")
        for name in ("go-a", "go-next"):
            stack.callback((site.root / name).touch)
        local = stack.enter_context(running(site))
        metrics = stack.enter_context(
            prometheus(server, local.removeprefix("http://"), folder, cluster=cluster)
        )
        begun = 'reconciler_gpu_seconds_total{name="a"} == 0'
        until(lambda: ask(metrics, begun), what="a to begin")
        (site.root / "go-a").touch()
        ready = {"a", "done", *(n for n, made in manifests().items() if not made.spec.suspend)}
        until(
            lambda: ready <= {name for name, phase in site.phases().items() if phase == "Ready"},
            what="the examples, a and the other to be Ready",
        )
        more_trouble(site, local)
        wanted = [as_grafana_asks(query, name=SHOWN) for name in NAMES for query in queries(name)]
        with suppress(AssertionError):  # it would not say which
            until(lambda: not missing(metrics, wanted, ago=STEP), what="data for all queries")
        assert missing(metrics, wanted, ago=STEP) == []
        served = stack.enter_context(closing(DashboardServer(page, metrics)))
        playwright = stack.enter_context(sync_playwright())
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        stack.callback(browser.close)
        yield Drawn(served.url, browser, since)


def examples_and_troubles(root: Path) -> Site:
    """A site with examples-repo, one that is done, and what fails, waits, and is wrong."""
    root.mkdir()
    site = Site(root)
    for name in ("datasets", "models", "sources"):
        shutil.copytree(EXAMPLES / name, site.work / name)
    trained(site, "done", 1, GOOD)
    troubled(site)
    return site


@contextmanager
def a_cluster(root: Path, namespace: Namespace) -> Iterator[str]:
    """The address of a daemon that has made a Job on a real API server, where no pod runs."""
    root.mkdir()
    site = ClusterSite(root, namespace)
    site.configure(server={"address": "127.0.0.1:0"})
    site.push_model("waits-for-a-node")
    with daemon(site):
        site.job("waits-for-a-node")
        until(lambda: Served(site).address, what="the server to listen")
        yield Served(site).address


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_drawn_whole(drawn: Drawn, name: str) -> None:
    page = drawn.new_page(name)
    complaints = complaints_of(page)
    drawn.show(page, name)
    until(lambda: len(page.evaluate(_ASKED)) >= len(queries(name)), what="an answer to each query")
    for panel in panels(name):
        marked(page, panel, "data")
        if panel["type"] in _GRAPHS:
            until(partial(has_lines, page, panel), what=f"lines in {panel['title']}")
    if folder := os.environ.get(PICTURES):
        page.screenshot(path=Path(folder) / f"dashboard-{name}.png", full_page=True)
    assert (page.evaluate(_CUT), complaints) == ([], [])
    page.close()


def test_the_bars_of_gpu_hours_have_the_names_of_objects(drawn: Drawn) -> None:
    page = drawn.new_page("overview")
    drawn.show(page, "overview")
    bars = frame(page, "GPU hours, most first")
    for name in ("a", "done"):
        found = bars.get_by_text(f"Model default/{name}", exact=True)
        expect(found).to_be_visible(timeout=LONG)
        assert found.evaluate("(each) => each.scrollWidth <= each.clientWidth")
    page.close()


@pytest.mark.parametrize(
    ("query", "but"),
    [
        ("no_such_metric", ()),
        # As a quantile is where nothing happened: a graph with a legend, and no line. Of a table,
        # the labels are data.
        ("NaN * reconciler_build_info", ("table",)),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_panel_without_a_number_would_be_seen(
    drawn: Drawn, name: str, query: str, but: tuple[str, ...]
) -> None:
    empty = read(name)
    for panel in empty["panels"]:
        for target in panel.get("targets", []):
            target["expr"] = query
    page = drawn.new_page(name)
    page.route(f"**/dashboards/{name}.json", lambda route: route.fulfill(json=empty))
    drawn.show(page, name)
    for panel in panels(name):
        if panel["type"] not in but:
            marked(page, panel, "no data")
    page.close()


def test_a_title_that_is_cut_would_be_seen(drawn: Drawn) -> None:
    page = drawn.new_page("overview", width=NARROW)
    drawn.show(page, "overview")
    until(lambda: "Errors in manifests" in page.evaluate(_CUT), what="a title to be cut")
    page.close()


def test_an_error_of_the_page_would_be_heard(drawn: Drawn) -> None:
    page = drawn.new_page("daemon")
    complaints = complaints_of(page)
    drawn.show(page, "daemon")
    page.evaluate("console.error('told')")
    page.evaluate("void setTimeout(() => { throw new Error('thrown') })")
    until(lambda: page.evaluate("1") and set(complaints) == {"told", "thrown"}, what="both")
    page.close()


def complaints_of(page: Page) -> list[str]:
    """The errors in the console of a page, and those that nothing caught, as they come."""
    complaints: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        if said.type == "error" and _PUBLIC not in said.location["url"]:
            complaints.append(said.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(error.message))
    return complaints


def marked(page: Page, panel: Any, mark: str) -> None:
    """A panel is there, and says whether it has data."""
    found = frame(page, panel["title"])
    expect(found).to_be_visible(timeout=LONG)
    # Itself it has no height, where what it holds is placed in the panel.
    expect(found.get_by_test_id(mark), panel["title"]).to_be_attached(timeout=LONG)


def has_lines(page: Page, panel: Any) -> bool:
    return bool(frame(page, panel["title"]).locator("canvas").evaluate(_COLOURED))


def frame(page: Page, title: str) -> Locator:
    return page.get_by_test_id(f"data-testid Panel header {title}")


def read(dashboard: str) -> Any:
    return json.loads((FOLDER / f"{dashboard}.json").read_text())


def panels(dashboard: str) -> list[Any]:
    return [panel for panel in read(dashboard)["panels"] if panel["type"] != "row"]


def queries(dashboard: str) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
