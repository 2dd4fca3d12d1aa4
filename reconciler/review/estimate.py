"""The estimate of what the runs of a plan take and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.planner import HOUR, ZERO, ActionKind, Prices, Spread, TimedTask, makespan
from reconciler.review.actions import Action
from reconciler.review.quantities import seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The sums of the forecasts of several runs.

    Those of ``unknown`` runs are not in them.

    ``wall`` is the time until all are complete, by their needs and the limits. ``cost`` is None
    without prices.
    """

    seconds: Spread = ZERO
    gpu_seconds: Spread = ZERO
    cost: Spread | None = None
    wall: Spread = ZERO
    known: int = 0
    unknown: int = 0


def estimate(
    actions: Iterable[Action], prices: Prices, *, limit_runs: int = 0, limit_gpus: int = 0
) -> Estimate:
    """Sum up the forecasts of the runs that are created, or held."""
    runs = [a for a in actions if a.forecast is not None and a.action in (ActionKind.CREATE, _HOLD)]
    seconds, gpu_seconds, cost = ZERO, ZERO, ZERO
    known = 0
    for action in runs:
        forecast = action.forecast
        if forecast is None or forecast.seconds is None or forecast.gpu_seconds is None:
            continue
        known += 1
        seconds = seconds.plus(forecast.seconds)
        gpu_seconds = gpu_seconds.plus(forecast.gpu_seconds)
        cost = cost.plus(forecast.cost or ZERO)
    wall = Spread(
        *(
            makespan(_timed(runs, high=high), runs=limit_runs, gpus=limit_gpus)
            for high in (False, True)
        )
    )
    return Estimate(
        seconds=seconds,
        gpu_seconds=gpu_seconds,
        cost=cost if prices else None,
        wall=wall,
        known=known,
        unknown=len(runs) - known,
    )


_HOLD = ActionKind.HOLD


def _timed(actions: Iterable[Action], *, high: bool) -> Iterable[TimedTask]:
    for action in actions:
        seconds = action.forecast.seconds if action.forecast is not None else None
        if action.key is not None:
            took = 0.0 if seconds is None else seconds.p90 if high else seconds.p50
            yield TimedTask(key=action.key, needs=action.after, seconds=took, gpus=action.gpus)


def estimate_text(found: Estimate, prices: Prices) -> str:
    """Return the estimate in a sentence.

    Empty if there is nothing to run.
    """
    total = found.known + found.unknown
    if not total:
        return ""
    if not found.known:
        return "Estimate: unknown, as no run like these is recorded."
    text = [_both(found.seconds, seconds, "of runs"), _both(found.wall, seconds, "until done")]
    if found.gpu_seconds.p90:
        text.append(_both(found.gpu_seconds, lambda s: f"{s / HOUR:.2f}", "GPU hours"))
    if found.cost is not None:
        text.append(_both(found.cost, prices.shown, ""))
    unknown = ""
    if found.unknown:
        unknown = f" {found.unknown} of {total} are unknown, and in no sum."
    return f"Estimate, of recorded runs: {', '.join(text)}.{unknown}"


def _both(spread: Spread, shown: Callable[[float], str], what: str) -> str:
    low, high = shown(spread.p50), shown(spread.p90)
    most = f" (90 %: {high})" if high != low else ""
    return f"{low} {what}".rstrip() + most
