"""Sentences, numbers and durations that all forms of a plan share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sized
from dataclasses import replace
from datetime import datetime

from reconciler.engine import RunPhase
from reconciler.planner import ActionKind, Prices
from reconciler.reasons import ReasonCode, message, names, waits
from reconciler.review.actions import Action
from reconciler.review.estimate import estimate, estimate_text
from reconciler.review.figures import format_number, metric_texts
from reconciler.review.quantities import counted, seconds
from reconciler.review.report import Review
from reconciler.review.swaps import ServedArtifact, Swap
from reconciler.types import ObjectRef, Problem, TaskKind

_TASKS = {
    TaskKind.BUILD: "build",
    TaskKind.LOAD: "load",
    TaskKind.TRAIN: "training",
    TaskKind.EVALUATE: "evaluation",
}
_RESULTS = {TaskKind.BUILD: "image", TaskKind.EVALUATE: "result"}


def symbol(action: Action) -> str:
    """Return the symbol of an action.

    ``+`` made for the first time, ``~`` made again, ``-`` ended, ``!`` needs attention.
    """
    match action.action:
        case ActionKind.CREATE:
            return "~" if action.again else "+"
        case ActionKind.CANCEL | ActionKind.DELETE:
            return "-"
        case ActionKind.HOLD | ActionKind.REFUSE:
            return "!"
        case ActionKind.WAIT:
            return "…"
        case ActionKind.KEEP:
            return "="


def verb(action: Action, now: datetime) -> str:
    """Return the action and state as text, without symbol and task."""
    match action.action:
        case ActionKind.CREATE:
            return _created(action)
        case ActionKind.CANCEL:
            text = f"is cancelled {_progress(action, now)}"
            superseded = action.reason.code is ReasonCode.SUPERSEDED
            return text if superseded else f"{text}: {message(action.reason)}"
        case ActionKind.DELETE:
            text = f"is cancelled {_progress(action, now)}" if action.run else "is removed"
            return f"{text}: its manifest is gone; its artifacts stay"
        case ActionKind.HOLD:
            gone = "its removal is held: its manifest is gone"
            return gone if action.held_removal else "is held"
        case ActionKind.REFUSE:
            return f"is refused: its manifest is wrong, it {_refused(action)}"
        case ActionKind.WAIT:
            return waits(action.reason)
        case ActionKind.KEEP:
            shared = action.reason.code is ReasonCode.SHARED
            return f"is {message(action.reason)}" if shared else f"is free: {_kept(action)}"


def _created(action: Action) -> str:
    text = f"runs {_time(action)}"
    if action.retried:
        return f"{text}: its failure is forgotten, because how it is run changes"
    if action.needs:
        needs = action.reason.arguments["needs"]
        assert isinstance(needs, tuple)  # as the planner names what a run waits for
        return f"{text}, after {names(needs)}"
    starts = action.reason.code is ReasonCode.STARTING
    return text if starts else f"{text}: {message(action.reason)}"


def _kept(action: Action) -> str:
    if action.made is None:
        return message(action.reason)
    thing = _RESULTS.get(action.task, "artifact") if action.task is not None else "artifact"
    text = [f"its {thing} is there already"]
    if action.made.finished is not None:
        text.append(f"made {action.made.finished:%Y-%m-%d}")
    text += metric_texts(action.made.metrics, most=2)
    return ", ".join(text)


def _refused(action: Action) -> str:
    return "stays as it is" if action.last_good else "is not made"


def _progress(action: Action, now: datetime) -> str:
    """Describe the progress that is lost with a cancelled run."""
    run = action.run
    if run is None or run.phase is not RunPhase.RUNNING:
        return "before it has started"
    since = f", {seconds(max(0.0, (now - run.started).total_seconds()))} in" if run.started else ""
    attempt = f", attempt {run.attempts}" if run.attempts > 1 else ""
    return f"in the middle of running{since}{attempt}"


def shown_forecast(action: Action, prices: Prices) -> str:
    """Format the forecast of a run; empty where it is unknown."""
    forecast = action.forecast
    if forecast is None or forecast.seconds is None:
        return ""
    text = f", about {seconds(forecast.seconds.p50)}"
    return text + (f" and {prices.shown(forecast.cost.p50)}" if forecast.cost is not None else "")


def shown_estimate(review: Review) -> str:
    """Return the estimate of the runs that the change causes.

    Empty if there are none.
    """
    return estimate_text(review.estimate(caused=True), review.prices)


def shown_gpus(action: Action) -> str:
    """Format the GPUs, type and nodes of a run; empty without GPUs."""
    resources = action.resources
    if not resources.gpus or resources.gpu is None or symbol(action) not in "+~!":
        return ""
    kind = f" {resources.gpu.type}" if resources.gpu.type else ""
    nodes = f" on {resources.nodes} nodes" if resources.nodes > 1 else ""
    return f" ({counted(resources.gpus, 'GPU')}{kind}{nodes})"


def summary(review: Review) -> str:
    """Summarize the change in one sentence."""
    text = [part for part in _parts(review) if part]
    errors = len(grouped_errors(review))
    if errors:
        text.append(f"{counted(errors, 'error')} in the manifests")
    if text:
        return f"{'; '.join(text)}."
    first = review.others.get(ActionKind.CREATE, 0)
    if review.basis is not None and review.basis.observed is None and first:
        return (
            "This change makes nothing run beyond what a first sync does: nothing was synced yet, "
            f"so that runs {counted(first, 'task')}."
        )
    return "This change makes nothing run."


def _parts(review: Review) -> Iterable[str]:
    creates = review.caused(ActionKind.CREATE)
    if creates:
        run = "runs" if len(creates) == 1 else "run"
        yield f"{runs(creates)} {run} {_times(creates)}{_cost(creates, review.prices)}"
    cancelled = [a for a in review.actions if a.caused and a.run is not None]
    if cancelled:
        running = sum(1 for a in cancelled if a.run and a.run.phase is RunPhase.RUNNING)
        of = f", {running} of them" if running < len(cancelled) else ""
        middle = f"{of} in the middle of running" if running else ""
        yield f"{counted(len(cancelled), 'run')} cancelled{middle}"
    removed = {action.ref for action in review.caused(ActionKind.DELETE)}
    if removed:
        yield f"{counted(len(removed), 'object')} removed"
    if review.swaps:
        serve = "serves" if len(review.swaps) == 1 else "serve"
        yield f"{counted(len(review.swaps), 'promotion')} {serve} another artifact"
    held = [action for action in review.caused(ActionKind.HOLD) if not action.held_removal]
    if held:
        cost = _cost(held, review.prices)
        yield f"{counted(len(held), 'task')} held until {_they(held)} released{cost}"
    removals = [action for action in review.caused(ActionKind.HOLD) if action.held_removal]
    if removals:
        yield f"{counted(len(removals), 'removal')} held until {_they(removals)} released"
    refused = review.caused(ActionKind.REFUSE)
    if refused:
        yield f"{counted(len(refused), 'object')} refused"
    waits = review.caused(ActionKind.WAIT)
    if waits:
        yield f"{counted(len(waits), 'task')} left waiting"
    free = [a for a in review.caused(ActionKind.KEEP) if a.made is not None]
    if free:
        make = "it makes" if len(free) == 1 else "they make"
        yield f"{counted(len(free), 'task')} free, because what {make} is there already"


def _they(actions: Sized) -> str:
    return "it is" if len(actions) == 1 else "they are"


def _times(creates: list[Action]) -> str:
    """``again``, or ``(1 again, 1 once more, 2 for the first time)``."""
    counts = Counter(_time(action) for action in creates)
    kinds = ("again", "once more", "for the first time")
    text = [f"{counts[kind]} {kind}" for kind in kinds if counts[kind]]
    return _time(creates[0]) if len(text) == 1 else f"({', '.join(text)})"


def _time(action: Action) -> str:
    """Return the words that the action's own line has."""
    if action.retried:
        return "once more"
    return "again" if action.again else "for the first time"


def _cost(actions: Iterable[Action], prices: Prices) -> str:
    actions = list(actions)
    gpus = sum(action.gpus for action in actions)
    found = estimate(actions, prices)
    text = f" with {counted(gpus, 'GPU')}" if gpus else ""
    if found.seconds.p50 >= 1:
        of = "" if not found.unknown else f" for {found.known} of {len(actions)}"
        text += f", an estimated {seconds(found.seconds.p50)}"
        text += f" and {prices.shown(found.cost.p50)}" if found.cost is not None else ""
        text += f" in all{of}"
    return text


def grouped_errors(review: Review) -> dict[Problem, int]:
    """Count the objects of each error; an error is listed once.

    An anchor in YAML is one place, however many objects use it.
    """
    return Counter(replace(problem, object=None) for problem in review.errors)


def refusals(review: Review) -> Iterable[tuple[str, list[ObjectRef]]]:
    """Yield the result for refused objects, with those objects."""
    groups: dict[bool, list[ObjectRef]] = {}
    for found in review.objects:
        if found.refused:
            groups.setdefault(found.actions[0].last_good, []).append(found.ref)
    for last_good, refs in groups.items():
        one = ("is not made", "stays as it is")
        many = ("are not made", "stay as they are")
        text = (one if len(refs) == 1 else many)[last_good]
        yield f"{counted(len(refs), 'object')} {text} until that is mended", refs


def withheld(review: Review) -> Iterable[tuple[str, tuple[ObjectRef, ...]]]:
    """Yield the reason for which removed objects stay, with those objects."""
    for reason, refs in review.withheld:
        stay = "stays" if len(refs) == 1 else "stay"
        yield f"{counted(len(refs), 'object')} {stay} that would go: {message(reason)}", refs


def served(side: ServedArtifact, swap: Swap) -> str:
    """``base-1 1a2b3c4d5e6f``: an artifact by its object and key."""
    ref = side.object
    if ref is None:
        return side.key[:12]
    if isinstance(ref, ObjectRef) and ref.namespace == swap.ref.namespace:
        return f"{ref.name} {side.key[:12]}"
    return f"{ref} {side.key[:12]}"


def swapped_metrics(swap: Swap) -> list[tuple[str, str]]:
    """Return the first metrics of a swap, before and after."""
    before, after = swap.before.metrics or {}, swap.after.metrics or {}
    return [
        (name, f"{_metric(swap.before, name)} → {_metric(swap.after, name)}")
        for name in list({**before, **after})[:_SHOWN_METRICS]
    ]


def _metric(side: ServedArtifact, name: str) -> str:
    if side.metrics is None:
        return "unknown"
    return format_number(side.metrics[name]) if name in side.metrics else "(none)"


def swap_text(swap: Swap) -> str:
    """``serves a 1a2b3c4d5e6f → b 0f9e8d7c6b5a; accuracy 0.91 → 0.93``."""
    text = f"serves {served(swap.before, swap)} → {served(swap.after, swap)}{once_made(swap)}"
    metrics = [f"{name} {values}" for name, values in swapped_metrics(swap)]
    return f"{text}; {', '.join(metrics) or NO_METRICS}"


def once_made(swap: Swap) -> str:
    """Return the condition of a swap; empty where its artifact is there."""
    if not swap.after.accepted:
        return " once a gate has accepted that"
    return "" if swap.after.made else " once that is made"


def rest(review: Review) -> str:
    """Count the actions that are not caused by this change, as text.

    A reviewer of the change need not read them one by one.
    """
    others = Counter(a.action for a in review.actions if not (a.caused or a.held_removal))
    kept = sum(1 for a in review.actions if a.action is ActionKind.KEEP and not a.caused)
    text = []
    if kept:
        text.append(f"{counted(kept, 'task')} unchanged")
    words = {
        ActionKind.CREATE: "to run",
        ActionKind.WAIT: "waiting",
        ActionKind.HOLD: "held",
        ActionKind.REFUSE: "refused",
        ActionKind.CANCEL: "to cancel",
        ActionKind.DELETE: "to remove",
    }
    besides = [f"{others[kind]} {word}" for kind, word in words.items() if others.get(kind)]
    removals = sum(1 for a in review.actions if a.held_removal and not a.caused)
    if removals:
        besides.append(f"{counted(removals, 'removal')} held")
    if besides:
        text.append(f"with or without this change: {', '.join(besides)}")
    return f"{'; '.join(text)}." if text else ""


def status_age(review: Review) -> str:
    """Describe the age of the status of a plan in a clone."""
    basis = review.basis
    if basis is None or basis.observed is None:
        return ""
    of = f", by the sync of commit {basis.head[:12]}" if basis.head else ""
    age = seconds((review.now - basis.observed).total_seconds())
    return f"The status used is of {basis.observed:%Y-%m-%d %H:%M} UTC, {age} ago{of}."


def runs(actions: Iterable[Action]) -> str:
    """``1 build and 3 trainings``."""
    counts = Counter(action.task for action in actions if action.task is not None)
    text = [counted(counts[task], _TASKS[task]) for task in TaskKind if counts[task]]
    return " and ".join([", ".join(text[:-1]), text[-1]] if len(text) > 1 else text)


#: Of a swap without any recorded metric.
NO_METRICS = "metrics unknown"
_SHOWN_METRICS = 5
