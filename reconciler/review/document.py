"""The JSON of ``plan --format json``, a stable interface.

Each class is the format of one of its objects, so a field that is renamed here is renamed there.
Members do not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.codec import Codec
from reconciler.planner import ActionKind, Forecast, ForecastBasis, Hold, HoldKind, Spread
from reconciler.reasons import ReasonCode, message
from reconciler.review.actions import Action
from reconciler.review.changes import CombinationChange
from reconciler.review.report import Review
from reconciler.review.swaps import ServedArtifact, Swap
from reconciler.types import JSON, Commit, Kind, Metrics, ProblemEntry, TaskKey, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forecast:
    """An estimate.

    Its members are null where nothing like the run is recorded.
    """

    seconds: Spread | None
    gpu_seconds: Spread | None
    cost: Spread | None
    basis: ForecastBasis


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """The sums of the known forecasts.

    ``cost`` is null without prices.
    """

    seconds: Spread
    gpu_seconds: Spread
    wall_seconds: Spread
    cost: Spread | None
    currency: str
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    action: ActionKind
    task: TaskKind | None
    for_evaluation: bool
    kind: Kind
    namespace: str
    name: str
    key: TaskKey | None
    reason: ReasonCode
    message: str
    file: str | None
    line: int | None
    gpus: int
    needs: tuple[TaskKey, ...]
    forecast: _Forecast | None
    variant: Mapping[str, JSON] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hold:
    id: str
    kind: HoldKind
    tenant: str | None
    reason: ReasonCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    object: str | None
    key: TaskKey
    made: bool
    metrics: Metrics | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Swap:
    kind: Kind
    namespace: str
    name: str
    before: _Served
    after: _Served


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sweep:
    """The combinations of an object's matrix that the change adds or drops."""

    kind: Kind
    namespace: str
    name: str
    added: tuple[Mapping[str, JSON], ...]
    dropped: tuple[Mapping[str, JSON], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Status:
    """The sync that the plan is made on.

    Its fields are None without a status branch.
    """

    observed: datetime | None
    head: Commit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary:
    """Counts of the actions of each kind, and their consequences."""

    create: int
    cancel: int
    delete: int
    keep: int
    wait: int
    hold: int
    refuse: int
    gpus: int
    errors: int
    held_removals: int
    holds: tuple[_Hold, ...]
    swaps: tuple[_Swap, ...]
    sweeps: tuple[_Sweep, ...]
    status: _Status | None
    unknown: tuple[str, ...]
    forecast: _Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    base: Commit
    head: Commit
    actions: tuple[_Action, ...]
    errors: tuple[ProblemEntry, ...]
    summary: _Summary


_PLAN = Codec(_Plan, omit="nothing")


def plan_document(review: Review) -> dict[str, JSON]:
    """Return a review as ``plan --format json`` prints it."""
    return _PLAN.dump(
        _Plan(
            base=review.base,
            head=review.head,
            actions=tuple(map(_action, review.actions)),
            errors=tuple(map(ProblemEntry.of, review.errors)),
            summary=_summary(review),
        )
    )


def _summary(review: Review) -> _Summary:
    basis = review.basis
    counts = {kind: review.counts.get(kind, 0) for kind in ActionKind}
    return _Summary(
        create=counts[ActionKind.CREATE],
        cancel=counts[ActionKind.CANCEL],
        delete=counts[ActionKind.DELETE],
        keep=counts[ActionKind.KEEP],
        wait=counts[ActionKind.WAIT],
        hold=counts[ActionKind.HOLD],
        refuse=counts[ActionKind.REFUSE],
        gpus=review.gpus,
        errors=len(review.errors),
        held_removals=sum(action.held_removal for action in review.actions),
        holds=tuple(map(_hold, review.holds)),
        swaps=tuple(map(_swap, review.swaps)),
        sweeps=tuple(_sweeps(review)),
        status=_Status(observed=basis.observed, head=basis.head) if basis is not None else None,
        unknown=tuple(review.unknowns()),
        forecast=_estimate(review),
    )


def _estimate(review: Review) -> _Estimate:
    found = review.estimate(caused=False)
    return _Estimate(
        seconds=found.seconds.rounded(),
        gpu_seconds=found.gpu_seconds.rounded(),
        wall_seconds=found.wall.rounded(),
        cost=found.cost.rounded() if found.cost is not None else None,
        currency=review.prices.currency,
        unknown=found.unknown,
    )


def _forecast(forecast: Forecast) -> _Forecast:
    seconds, gpu_seconds, cost = forecast.seconds, forecast.gpu_seconds, forecast.cost
    return _Forecast(
        seconds=seconds.rounded() if seconds is not None else None,
        gpu_seconds=gpu_seconds.rounded() if gpu_seconds is not None else None,
        cost=cost.rounded() if cost is not None else None,
        basis=forecast.basis,
    )


def _action(action: Action) -> _Action:
    return _Action(
        action=action.action,
        task=action.task,
        for_evaluation=action.for_evaluation,
        kind=action.ref.kind,
        namespace=action.ref.namespace,
        name=action.ref.name,
        key=action.key,
        reason=action.reason.code,
        message=action.message,
        file=action.file,
        line=action.line,
        gpus=action.gpus,
        needs=action.needs,
        forecast=_forecast(action.forecast) if action.forecast is not None else None,
        variant=action.variant,
    )


def _sweeps(review: Review) -> Iterator[_Sweep]:
    for found in review.objects:
        change = found.why.combinations if found.why is not None else CombinationChange()
        if change != CombinationChange():
            yield _Sweep(
                kind=found.ref.kind,
                namespace=found.ref.namespace,
                name=found.ref.name,
                added=change.added,
                dropped=change.dropped,
            )


def _hold(hold: Hold) -> _Hold:
    return _Hold(
        id=hold.id,
        kind=hold.kind,
        tenant=hold.tenant,
        reason=hold.reason.code,
        message=message(hold.reason),
    )


def _swap(swap: Swap) -> _Swap:
    return _Swap(
        kind=swap.ref.kind,
        namespace=swap.ref.namespace,
        name=swap.ref.name,
        before=_served(swap.before),
        after=_served(swap.after),
    )


def _served(artifact: ServedArtifact) -> _Served:
    return _Served(
        object=str(artifact.object) if artifact.object is not None else None,
        key=artifact.key,
        made=artifact.made,
        metrics=artifact.metrics,
    )
