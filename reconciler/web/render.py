"""Rendering of templates and lineage graphs to HTML; every value is escaped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined

from reconciler import __version__
from reconciler.engine import NoTail
from reconciler.planner import ObjectStatus, Phase, TaskPhase
from reconciler.reasons import message
from reconciler.review import (
    Latest,
    ObjectProgress,
    cut,
    format_number,
    format_value,
    object_progress,
    plain,
    seconds,
    shown_message,
    shown_metric,
    shown_size,
    task_seconds,
    why_lines,
)
from reconciler.types import JSON, Kind, ObjectRef, TaskKey, TaskKind
from reconciler.web.comparison import ComparedSelection
from reconciler.web.curves import HEIGHT as CHART_HEIGHT
from reconciler.web.curves import WIDTH as CHART_WIDTH
from reconciler.web.curves import Charts
from reconciler.web.graph_layout import HEIGHT, WIDTH, Layout, lay_out
from reconciler.web.history import Order, comparisons
from reconciler.web.hrefs import object_href
from reconciler.web.overlay import HEIGHT as OVERLAY_HEIGHT
from reconciler.web.overlay import NO_OVERLAY, Overlay
from reconciler.web.overlay import WIDTH as OVERLAY_WIDTH
from reconciler.web.selection import ROWS, Selection, listed
from reconciler.web.snapshot import Catalog
from reconciler.web.sweeps import shown_sweep
from reconciler.web.terminal import LINES, TerminalOutput

#: Errors and holds that are listed, and characters of each; the rest is counted.
MOST_LISTED = 50
_LONGEST_SENTENCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The parts that all pages have.

    ``troubles`` are the daemon's own errors, ``synced`` is the time of the last sync. ``tag`` is
    the page's ETag: the script sends it, and gets 304 while the page is the same.
    """

    cluster: str
    tag: str = ""
    troubles: Sequence[str] = ()
    synced: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLog:
    """The log of a task's attempt, or why it is missing.

    ``drawn`` are the task, the key and the attempt of the curves, None for those of the log.
    """

    task: TaskKind
    attempt: int
    where: str
    found: TerminalOutput | NoTail
    key: TaskKey | None = None
    charts: Charts = field(default_factory=Charts)
    drawn: tuple[TaskKind, TaskKey | None, int] | None = None

    @property
    def charted(self) -> tuple[TaskKind, TaskKey | None, int]:
        """Return the task, the key and the attempt of the curves."""
        return self.drawn or (self.task, self.key, self.attempt)


#: The progress of objects whose running task reports it.
Progresses = Mapping[ObjectRef, ObjectProgress]
NO_PROGRESS: Progresses = MappingProxyType({})


def shown_progress(records: Iterable[ObjectStatus], latest: Latest, now: datetime) -> Progresses:
    """Return what is shown of the progress of objects."""
    found: dict[ObjectRef, ObjectProgress] = {}
    for record in records:
        if record.phase in (Phase.LOADING, Phase.TRAINING):
            progress = object_progress(record, latest, now)
            if progress is not None:
                found[record.ref] = progress
    return found


def overview_page(
    frame: Frame, catalog: Catalog, selection: Selection, progress: Progresses = NO_PROGRESS
) -> str:
    """Render the page of all objects, or those selected."""
    page = listed(catalog, selection)
    return _render(
        "overview.html",
        frame=frame,
        catalog=catalog,
        page=page,
        progress=progress,
        selection=page.selection,
        lineage=overview(catalog, page.found),
        rows_a_page=ROWS,
    )


def object_page(
    frame: Frame,
    catalog: Catalog,
    record: ObjectStatus,
    *,
    order: Order,
    log: ShownLog | None,
    progress: Progresses = NO_PROGRESS,
    overlay: Overlay = NO_OVERLAY,
) -> str:
    """Render the page of one object."""
    return _render(
        "object.html",
        frame=frame,
        catalog=catalog,
        record=record,
        order=order,
        log=log,
        progress=progress,
        lines=list(why_lines(catalog.plan, record.ref)),
        lineage=neighbourhood(catalog, record.ref),
        comparisons=comparisons(record, order),
        prices=catalog.plan.inputs.settings.prices,
        params=_params(catalog, record),
        sweep=shown_sweep(record),
        overlay=overlay,
    )


def compare_page(
    frame: Frame, catalog: Catalog, compared: ComparedSelection, overlay: Overlay = NO_OVERLAY
) -> str:
    """Render the page that compares the artifacts of selected objects."""
    return _render(
        "compare.html",
        frame=frame,
        catalog=catalog,
        compared=compared,
        overlay=overlay,
        prices=catalog.plan.inputs.settings.prices,
    )


def message_page(frame: Frame, title: str, *sentences: str) -> str:
    """Render a page of a title and sentences."""
    return _render("message.html", frame=frame, title=title, sentences=sentences)


def _render(template: str, **values: object) -> str:
    return _TEMPLATES.get_template(template).render(values)


def _params(catalog: Catalog, record: ObjectStatus) -> dict[TaskKind, Mapping[str, JSON]]:
    """Return the params of each task that is not complete.

    Those of a run of an earlier key are not known.
    """
    earlier = {task.task for task in record.tasks if task.run_key is not None}
    variants = {variant.key for variant in record.variants}  # a table has their params
    return {
        action.task.kind: action.task.params
        for action in catalog.plan.decided.get(record.ref, ())
        if action.phase is not TaskPhase.SUCCEEDED
        and action.task.params
        and action.task.kind not in earlier
        and action.task.key not in variants
    }


def _stamp(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _iso(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _sentence(text: object) -> str:
    return cut(str(text), _LONGEST_SENTENCE)


def _total(record: ObjectStatus) -> float:
    """Return the seconds of the object's ended tasks.

    A task that runs is shown by its start instead.
    """
    return sum(task_seconds(task, task.started) for task in record.tasks if task.started)


def _since(record: ObjectStatus) -> datetime | None:
    """Return the start of the task that runs now."""
    if record.phase not in (Phase.BUILDING, Phase.LOADING, Phase.TRAINING, Phase.EVALUATING):
        return None
    times = [t.started for t in record.tasks if t.started is not None and t.finished is None]
    return max(times, default=None)


def _more(things: Iterable[object]) -> int:
    return max(0, sum(1 for _ in things) - MOST_LISTED)


def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("reconciler.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "short": cut,
        "plain": plain,
        "message": message,
        "sentence": _sentence,
        "stamp": _stamp,
        "iso": _iso,
        "lasted": seconds,
        "metric": shown_metric,
        "said": shown_message,
        "number": format_number,
        "value": format_value,
        "total": _total,
        "since": _since,
        "more": _more,
        "bytes": shown_size,
        "href": object_href,
    }
    found.globals |= {
        "version": __version__,
        "log_lines": LINES,
        "most_listed": MOST_LISTED,
        "chart_width": CHART_WIDTH,
        "chart_height": CHART_HEIGHT,
        "overlay_width": OVERLAY_WIDTH,
        "overlay_height": OVERLAY_HEIGHT,
        "box_width": WIDTH,
        "box_height": HEIGHT,
        "Phase": Phase,
        "Kind": Kind,
    }
    return found


_TEMPLATES = _environment()


#: A larger graph cannot be read, and slows down a browser.
MOST_NODES = 60
#: Of the selected objects; the rest is room for their upstream.
MOST_SELECTED = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The layout of a lineage graph.

    ``left_out`` counts objects beyond the bound, and ``alone`` those without any dependency.
    """

    layout: Layout[ObjectRef]
    left_out: int = 0
    alone: int = 0


def overview(catalog: Catalog, found: Sequence[ObjectStatus]) -> Lineage:
    """Lay out the first selected objects with dependencies, and their upstream."""
    ties = catalog.upstream, catalog.downstream
    tied = [record.ref for record in found if any(tie.get(record.ref) for tie in ties)]
    shown = dict.fromkeys(tied[:MOST_SELECTED])
    for ref in _upstream(catalog, list(shown)):
        if len(shown) >= MOST_NODES:
            break
        shown.setdefault(ref)
    left_out = sum(ref not in shown for ref in tied)
    return _drawn(catalog, shown, left_out=left_out, alone=len(found) - len(tied))


def neighbourhood(catalog: Catalog, ref: ObjectRef) -> Lineage:
    """Lay out an object's upstream and downstream, the nearest first."""
    seen = {ref}
    near: list[ObjectRef] = [ref]
    waiting = deque([(ref, catalog.upstream), (ref, catalog.downstream)])
    while waiting:
        at, direction = waiting.popleft()
        for neighbour in direction.get(at, ()):
            if neighbour not in seen:
                seen.add(neighbour)
                near.append(neighbour)
                waiting.append((neighbour, direction))
    return _drawn(catalog, dict.fromkeys(near[:MOST_NODES]), left_out=len(near[MOST_NODES:]))


def _upstream(catalog: Catalog, refs: list[ObjectRef]) -> list[ObjectRef]:
    found = dict.fromkeys(refs)
    for ref in refs:
        for up in catalog.upstream.get(ref, ()):
            if up not in found:
                found[up] = None
                refs.append(up)
    return list(found)


def _drawn(
    catalog: Catalog, shown: dict[ObjectRef, None], *, left_out: int, alone: int = 0
) -> Lineage:
    layout = lay_out(sorted(shown), {ref: catalog.upstream.get(ref, ()) for ref in shown})
    return Lineage(layout=layout, left_out=left_out, alone=alone)
