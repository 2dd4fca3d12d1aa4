// Keeps the page current: the same page is asked for again, and the parts that differ are replaced.
// Without this script everything is there as well, as of when it was loaded.
"use strict";

const EVERY = 2000;
const LONGEST = 30000;
const parser = new DOMParser();
const button = document.getElementById("live");
const away = document.getElementById("away");
const shown = new Map();
let tag = document.documentElement.dataset.tag;
let live = true;
let wait = EVERY;
let timer = 0;

function remember() {
  for (const part of document.querySelectorAll("[data-live]")) shown.set(part.id, part.innerHTML);
}

// -- times: a reader wants to know how long ago --------------------------------------------------

function lasted(seconds) {
  const two = (n) => String(Math.floor(n)).padStart(2, "0");
  if (seconds < 60) return `${Math.floor(seconds)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h${two((seconds % 3600) / 60)}m`;
  return `${Math.floor(seconds / 86400)}d${Math.floor((seconds % 86400) / 3600)}h`;
}

function ago(seconds) {
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 30 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return null;
}

function tick() {
  for (const time of document.querySelectorAll("time")) {
    time.title ||= time.textContent;
    const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
    const text = time.classList.contains("since") ? lasted(seconds) : ago(seconds) ?? time.title;
    if (time.textContent !== text) time.textContent = text;
  }
}

// -- replacing: what a reader holds (focus, place, folded parts, a selection) stays ----------------

function held(part) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

function places(part) {
  return [...part.querySelectorAll("[tabindex='0'][id]")].map((box) => ({
    id: box.id,
    left: box.scrollLeft,
    top: box.scrollTop,
    end: box.scrollTop + box.clientHeight >= box.scrollHeight - 4,
  }));
}

function handle(part) {
  const focused = document.activeElement;
  if (!focused || !part.contains(focused)) return null;
  const same = [...part.querySelectorAll("a, pre, [tabindex], summary")].filter(
    (e) => e.tagName === focused.tagName && e.getAttribute("href") === focused.getAttribute("href")
  );
  return { id: focused.id, tag: focused.tagName, href: focused.getAttribute("href"), nth: same.indexOf(focused) };
}

function refocus(part, was) {
  if (!was) return;
  const same = [...part.querySelectorAll("a, pre, [tabindex], summary")].filter(
    (e) => e.tagName === was.tag && e.getAttribute("href") === was.href
  );
  const found = (was.id && document.getElementById(was.id)) || same[was.nth] || same[0];
  (found ?? document.getElementById("main")).focus({ preventScroll: true });
}

function replace(part, fresh) {
  const before = places(part);
  const folded = [...part.querySelectorAll("details[id]:not([open])")].map((d) => d.id);
  const focus = handle(part);
  part.replaceChildren(...fresh.childNodes);
  for (const id of folded) document.getElementById(id)?.removeAttribute("open");
  for (const { id, left, top, end } of before) {
    const box = document.getElementById(id);
    if (box) box.scrollTo(left, end && box.tagName === "PRE" ? box.scrollHeight : top);
  }
  refocus(part, focus);
}

function take(text) {
  const fresh = parser.parseFromString(text, "text/html");
  const parts = [...fresh.querySelectorAll("[data-live]")];
  const mine = [...document.querySelectorAll("[data-live]")];
  if (parts.map((p) => p.id).join() !== mine.map((p) => p.id).join()) {
    document.getElementById("main").replaceChildren(...fresh.getElementById("main").childNodes);
    remember();
  }
  let all = true;
  for (const part of parts) {
    const old = document.getElementById(part.id);
    const html = part.innerHTML;
    if (!old || shown.get(part.id) === html) continue;
    if (held(old)) {
      all = false;
      continue;
    }
    shown.set(part.id, html);
    replace(old, part);
  }
  document.title = fresh.title;
  tick();
  return all ? fresh.documentElement.dataset.tag : "";
}

// -- asking ---------------------------------------------------------------------------------------

async function look() {
  const headers = { Accept: "text/html", ...(tag ? { "If-None-Match": `W/"${tag}"` } : {}) };
  try {
    const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "error" });
    if (answer.status !== 304) tag = take(await answer.text());
    wait = EVERY;
    away.hidden = true;
  } catch {
    wait = Math.min(wait * 2, LONGEST);
    away.textContent = "The daemon does not answer; what is shown here may be out of date.";
    away.hidden = false;
  }
  again();
}

function again() {
  clearTimeout(timer);
  if (live && !document.hidden) timer = setTimeout(look, wait);
}

button.hidden = false;
button.addEventListener("click", () => {
  live = !live;
  button.setAttribute("aria-pressed", String(live));
  if (live) look();
  else again();
});
document.addEventListener("visibilitychange", () => (document.hidden ? again() : live && look()));

remember();
tick();
setInterval(tick, 1000);
const log = document.getElementById("log-lines");
if (log) log.scrollTop = log.scrollHeight;
const here = document.querySelector(".box.here");
if (here) {
  const box = here.closest(".scroll");
  const [at, around] = [here.getBoundingClientRect(), box.getBoundingClientRect()];
  box.scrollLeft = at.x - around.x - (around.width - at.width) / 2;
  box.scrollTop = at.y - around.y - (around.height - at.height) / 2;
}
again();
