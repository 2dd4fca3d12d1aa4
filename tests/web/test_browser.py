"""The status page of a real daemon in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.cluster.ports import free
from tests.e2e.site import Site, stop, until
from tests.needs import program
from tests.patience import PATIENCE

#: What would run, or load something, if the page did not escape it.
HOSTILE = "<img src=//evil.test/x onerror=\"document.title='owned'\"><script>owned</script>"
PHONE = {"width": 360, "height": 740}
SIZES = [PHONE, {"width": 1280, "height": 800}]
_TRAIN = """
echo '{"accuracy": '"$PARAM_ACCURACY"'}' > "$MODEL_DIR/metrics.json"
echo trained > "$MODEL_DIR/weights"
"""
_SLOW = """
echo "$PARAM_GREETING"
n=0
while [ ! -e "$PARAM_UNTIL" ]; do n=$((n + 1)); echo "step $n"; sleep 0.2; done
"""


@dataclass
class Shown:
    """A daemon whose page shows an object in every state; ``release`` ends the one that runs."""

    site: Site
    url: str
    release: Path

    def object(self, name: str) -> str:
        return f"{self.url}/objects/default/models/{name}"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    root = tmp_path_factory.mktemp("page")
    site, release = Site(root), root / "release"
    address = f"127.0.0.1:{free(1)[0]}"
    site.configure(server={"address": address}, guard={"tasks": 1}, local={"slots": 8})
    site.trained("base", _TRAIN, params={"accuracy": 0.91, "note": HOSTILE})
    site.finetune("fine", "base", params={"accuracy": 0.93})
    site.finetune("other", "base", params={"accuracy": 0.89})
    site.trained("broken", "echo about to fail\nexit 3\n")
    site.trained("slow", _SLOW, params={"greeting": HOSTILE, "until": str(release)})
    site.push()
    process = site.start()
    try:
        ready = {"base", "fine", "other"}
        until(
            lambda: (
                {n for n, p in site.phases().items() if p == "Ready"} == ready
                and site.phases().get("broken") == "Failed"
                and site.phases().get("slow") == "Training"
            ),
            what="the objects to be made",
        )
        site.edit("fine.yaml", "0.93", "0.95")
        site.push()
        until(lambda: _accuracy(site, "fine") == 0.95, what="another training of fine")
        site.edit("base.yaml", "0.91", "0.92")  # more than the guard lets pass
        site.write("typo.yaml", "kind: Model\nmetadata: {name: typo}\nspec: {sauce: {}}\n")
        site.push()
        until(lambda: site.phases()["base"] == "Held", what="the hold")
        yield Shown(site, f"http://{address}", release)
    finally:
        release.touch()
        stop(process)


def _accuracy(site: Site, name: str) -> float | None:
    artifact = site.statuses()[name].get("artifact") or {}
    value = artifact.get("metrics", {}).get("accuracy")
    return float(value) if value is not None else None


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = program("chromium", "chromium-browser", package="chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Watched:
    """A tab, and what happened in it that should not have."""

    page: Page
    host: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on(
            "request",
            lambda r: self.wrong.append(r.url) if not r.url.startswith(self.host) else None,
        )


@pytest.fixture
def tab(browser: Browser, shown: Shown) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    watched = Watched(page, shown.url)
    yield watched
    page.close()
    assert not watched.wrong, "errors, refusals of the content security policy, other hosts"


def test_what_needs_somebody_stands_at_the_top(tab: Watched, shown: Shown) -> None:
    tab.page.goto(shown.url)
    text = tab.page.inner_text("main")
    assert "typo.yaml:3" in text
    assert "spec.sauce" in text
    assert re.search(r"echo [0-9a-f]{12} >> .reconciler/release", text), "what releases the hold"
    names = tab.page.locator(".objects tbody th a").all_inner_texts()
    assert names == ["typo", "broken", "base", "fine", "other", "slow"]


def test_what_people_and_commands_wrote_is_text(tab: Watched, shown: Shown) -> None:
    tab.page.goto(shown.object("base"))
    assert HOSTILE[:50] in tab.page.inner_text("#history")
    tab.page.goto(shown.object("slow"))
    expect(tab.page.locator("#log-lines")).to_contain_text(HOSTILE, timeout=1000 * PATIENCE)
    assert "owned" not in tab.page.title()
    assert tab.page.locator("main img, main script").count() == 0


def test_a_log_grows_while_one_looks(tab: Watched, shown: Shown) -> None:
    tab.page.goto(shown.object("slow"))
    log = tab.page.locator("#log-lines")
    first = log.inner_text()
    expect(log).not_to_have_text(first, timeout=30_000)
    lines = log.locator("span").count()
    assert 0 < lines <= 200


def test_histories_are_side_by_side(tab: Watched, shown: Shown) -> None:
    tab.page.goto(shown.object("fine"))
    table = tab.page.locator("#history table").first
    assert table.locator("tbody tr").count() >= 2
    text = table.inner_text()
    assert "0.95" in text
    assert "0.93" in text
    assert "Current" in text


def test_the_graph_shows_what_is_made_from_what(tab: Watched, shown: Shown) -> None:
    tab.page.goto(shown.url)
    graph = tab.page.locator("main svg")
    for name in ("base", "fine", "other"):
        assert name in (graph.text_content() or "")
    tab.page.goto(shown.object("base"))
    tab.page.locator("svg a", has_text="fine").first.click()
    assert tab.page.url == shown.object("fine")


@pytest.mark.parametrize("size", SIZES, ids=["phone", "desk"])
@pytest.mark.parametrize("path", ["/", "/objects/default/models/fine", "/nowhere"])
def test_nothing_is_cut_off_at_the_side(
    tab: Watched, shown: Shown, size: dict[str, int], path: str
) -> None:
    tab.page.set_viewport_size({"width": size["width"], "height": size["height"]})
    tab.page.goto(f"{shown.url}{path}")
    if path == "/nowhere":
        tab.wrong.clear()  # the browser reports a 404 as an error
    wider = tab.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wider <= 0, "the page itself scrolls to the side; only what is in boxes may"
    assert tab.page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize("width", [320, 390])
def test_a_graph_on_a_phone_scrolls_in_its_box_and_shows_the_object(
    tab: Watched, shown: Shown, width: int
) -> None:
    tab.page.set_viewport_size({"width": width, "height": 700})
    tab.page.goto(shown.object("fine"))
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    inside = tab.page.evaluate(
        "(() => { const b = document.querySelector('.box.here .edge').getBoundingClientRect();"
        " return [b.left, b.right]; })()"
    )
    assert 0 <= inside[0] < inside[1] <= width


def test_links_are_large_enough_for_a_thumb_on_a_phone(tab: Watched, shown: Shown) -> None:
    tab.page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    tab.page.goto(shown.url)
    heights = tab.page.evaluate(
        "[...document.querySelectorAll('main table a, main form button, main form select')]"
        ".filter(e => e.getClientRects().length)"
        ".map(e => [e.textContent.trim().slice(0, 40), e.getBoundingClientRect().height])"
    )
    assert heights
    assert not [found for found in heights if found[1] < 24], "WCAG 2.2, 2.5.8"


def test_the_keyboard_reaches_an_object_and_shows_where_it_is(tab: Watched, shown: Shown) -> None:
    tab.page.goto(shown.url)
    tab.page.keyboard.press("Tab")
    skip = tab.page.evaluate("document.activeElement.getAttribute('href')")
    assert skip == "#main", "first of all one can skip to the content"
    for _ in range(120):
        tab.page.keyboard.press("Tab")
        href = tab.page.evaluate("document.activeElement.getAttribute('href')")
        here = tab.page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        assert tab.page.evaluate(_VISIBLY_FOCUSED), f"nothing shows that this has the focus: {here}"
        if href == "/objects/default/models/broken":
            break
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("h1")).to_contain_text("broken", timeout=1000 * PATIENCE)
    assert "about to fail" in tab.page.inner_text("#log")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(
    browser: Browser, shown: Shown, scheme: str
) -> None:
    context = browser.new_context(color_scheme="light" if scheme == "light" else "dark")
    page = context.new_page()
    ground = set()
    for url in (shown.url, shown.object("fine"), shown.object("broken")):
        page.goto(url)
        weak = page.evaluate(CONTRAST)
        assert not weak, json.dumps(weak[:5], indent=1)
        ground.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    context.close()
    (color,) = ground
    red = int(re.findall(r"\d+", color)[0])
    assert (red < 128) == (scheme == "dark")


def test_without_javascript_it_is_all_there(browser: Browser, shown: Shown) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{shown.url}/?phase=Failed")
    assert page.locator("table tbody a", has_text="broken").count() == 1
    assert page.locator("table tbody a", has_text="other").count() == 0
    page.goto(shown.object("broken"))
    assert "about to fail" in page.inner_text("#log")
    context.close()


_VISIBLY_FOCUSED = """
() => {
  const e = document.activeElement;
  if (e.classList.contains("box")) {
    return parseFloat(getComputedStyle(e.querySelector(".edge")).strokeWidth) > 3;
  }
  return getComputedStyle(e).outlineStyle !== "none";
}
"""

#: What stands out of its box to the right, and cannot be scrolled to.
CUT_OFF = """
() => [...document.querySelectorAll("main *")].filter((e) => {
  const box = e.getBoundingClientRect();
  if (!box.width || e.closest("svg, .hidden, thead")) return false;
  for (let p = e; p && p.tagName !== "MAIN"; p = p.parentElement) {
    if (["auto", "scroll"].includes(getComputedStyle(p).overflowX)) return false;
  }
  return box.right > document.querySelector("main").getBoundingClientRect().right;
}).map((e) => [e.tagName, e.className, e.textContent.trim().slice(0, 40)])
"""

#: The texts whose contrast is below 4.5 (3 where large), as WCAG 2 computes it.
CONTRAST = """
() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const lum = ([r, g, b]) => {
    const f = (v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (e) => {
    const over = [];
    for (; e; e = e.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
      if (a > 0) over.push([r, g, b, a]);
      if (a === 1) break;
    }
    let c = [255, 255, 255];
    for (const [r, g, b, a] of over.reverse()) c = [r, g, b].map((v, i) => v * a + c[i] * (1 - a));
    return c;
  };
  const weak = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    const text = walk.currentNode.textContent.trim();
    if (!text || e.closest("svg, script, style, option") || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const back = behind(e);
    const [r, g, b, a = 1] = parse(style.color);
    const front = [r, g, b].map((v, i) => v * a + back[i] * (1 - a));
    const [hi, lo] = [lum(front), lum(back)].sort((x, y) => y - x);
    const ratio = (hi + 0.05) / (lo + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) weak.push([text.slice(0, 40), style.color, back, ratio]);
  }
  return weak;
}
"""
