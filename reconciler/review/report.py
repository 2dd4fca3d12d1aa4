"""The review of a plan.

A pull request is judged by what it changes. So the plan of its head is held against the plan of
its base, on the same state: what both would do alike is not this change's doing, and only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from reconciler.manifests import Effect
from reconciler.planner import (
    ActionKind,
    Forecaster,
    Hold,
    ObjectStatus,
    Plan,
    Prices,
    statuses_after,
    unaccepted,
)
from reconciler.reasons import HELD_REMOVALS, UNKNOWABLE, Reason, ReasonCode, message
from reconciler.review.actions import Action, actions_of
from reconciler.review.changes import Change, explain
from reconciler.review.estimate import Estimate, estimate
from reconciler.review.swaps import Swap, swaps_of
from reconciler.types import Commit, Location, ObjectRef, Problem, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReview:
    """An object that a change affects.

    ``free`` is the reason if nothing runs for it.

    ``upstream`` are the objects that it is made from.
    """

    ref: ObjectRef
    why: Change | None
    place: Location | None
    actions: tuple[Action, ...]
    free: Reason | None = None
    upstream: tuple[ObjectRef, ...] = ()

    @property
    def refused(self) -> bool:
        """True if the errors in the object's manifest say everything about it."""
        return bool(self.actions) and all(a.action is ActionKind.REFUSE for a in self.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """The recorded state that a plan in a clone is made on.

    ``observed`` is when it was recorded, by a sync of ``head``; None without a status branch.
    ``unread`` are followed sources that are taken to stand as recorded, with the cause.
    """

    observed: datetime | None = None
    head: Commit | None = None
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A plan between two commits.

    ``objects`` are those that the change affects, upstream first.

    ``released`` are holds that head lets pass: approving it approves them. ``plan`` is of head.
    ``unknown`` has the objects whose keys this plan cannot know, by cause. ``withheld`` are objects
    whose manifest the change removes, and which stay all the same, by the reason for it. ``swaps``
    are the promotions that come to serve another artifact. ``undecided`` are sweeps whose best is
    not known yet, and which others are made from. A daemon's review of its own state has no
    ``basis``.
    """

    base: Commit
    head: Commit
    actions: tuple[Action, ...]
    errors: tuple[Problem, ...]
    now: datetime
    holds: tuple[Hold, ...] = ()
    released: tuple[Hold, ...] = ()
    objects: tuple[ObjectReview, ...] = ()
    plan: Plan | None = field(default=None, repr=False, compare=False)
    unknown: Mapping[Reason, tuple[ObjectRef, ...]] = field(default_factory=dict)
    basis: Basis | None = None
    counts: Mapping[ActionKind, int] = field(default_factory=dict)
    withheld: tuple[tuple[Reason, tuple[ObjectRef, ...]], ...] = ()
    swaps: tuple[Swap, ...] = ()
    prices: Prices = field(default_factory=Prices)
    undecided: tuple[tuple[ObjectRef, Reason], ...] = ()

    @property
    def incomplete(self) -> tuple[ObjectStatus, ...]:
        """Statuses after a sync of head of objects that are not complete."""
        after = statuses_after(self.plan) if self.plan is not None else {}
        return tuple(s for _, s in sorted(after.items()) if not s.complete)

    @property
    def changes(self) -> bool:
        """True if a sync would change anything."""
        return bool(self.swaps) or any(action.action.changes for action in self.actions)

    @property
    def gpus(self) -> int:
        """GPUs of all runs that would be created."""
        return sum(a.gpus for a in self.actions if a.action is ActionKind.CREATE)

    def estimate(self, *, caused: bool) -> Estimate:
        """Sum up the forecasts of all or of caused runs."""
        settings = self.plan.inputs.settings if self.plan is not None else None
        return estimate(
            (action for action in self.actions if action.caused or not caused),
            self.prices,
            limit_runs=settings.limit_runs if settings is not None else 0,
            limit_gpus=settings.limit_gpus if settings is not None else 0,
        )

    def caused(self, kind: ActionKind) -> list[Action]:
        """The actions of a kind that this change is the cause of."""
        return [a for a in self.actions if a.caused and a.action is kind]

    @property
    def others(self) -> Mapping[ActionKind, int]:
        """Count the actions that this change does not cause.

        A sync takes them, or leaves them waiting, with or without it.
        """
        kinds = (a.action for a in self.actions if not a.caused)
        return Counter(kind for kind in kinds if kind is not ActionKind.KEEP)

    def unknowns(self) -> Iterator[str]:
        """Yield a phrase for each thing that the plan could not know."""
        if self.basis is not None:
            if self.basis.observed is None:
                yield "what is made: there is no status branch here, so nothing counts as made"
            for source, why in self.basis.unread.items():
                yield f"whether {source} has moved: it stands here as recorded, as {why}"
        for sweep, cause in self.undecided:
            yield f"what runs for what is made from {sweep}: of it, {message(cause)}"
        for cause, (first, *more) in self.unknown.items():
            also = f" and {len(more):,} more" if more else ""
            yield f"what runs for {first}{also}, and for what is made from it: {message(cause)}"


def review(
    plan: Plan, *, before: Plan, errors: Sequence[Problem], basis: Basis | None = None
) -> Review:
    """Compare the plan of a head with the plan of its base.

    Both are made from the same state.
    """
    desired = plan.inputs.desired
    whys = explain(before.inputs.desired, desired)
    prices = plan.inputs.settings.prices
    forecaster = Forecaster(plan.inputs.records, desired, prices)
    same = {_identity(before, action) for action in actions_of(before, {}, ())}
    actions = [
        replace(action, caused=_identity(plan, action) not in same)
        for action in actions_of(plan, whys, errors, forecaster)
    ]
    actions.sort(key=lambda a: (a.ref, list(TaskKind).index(a.task) if a.task else 9, a.action))
    return Review(
        base=before.inputs.head,
        head=plan.inputs.head,
        actions=tuple(actions),
        errors=tuple(errors),
        now=plan.inputs.now,
        holds=plan.holds,
        released=plan.released,
        objects=tuple(_touched(plan, whys, actions)),
        plan=plan,
        unknown=_unknown(plan),
        basis=basis,
        counts=Counter(action.action for action in actions),
        withheld=tuple(_withheld(plan, before)),
        swaps=tuple(swaps_of(plan, before)),
        prices=prices,
        undecided=tuple(_undecided(plan)),
    )


def _undecided(plan: Plan) -> Iterator[tuple[ObjectRef, Reason]]:
    """Yield the sweeps in use whose best is unknown."""
    desired = plan.inputs.desired
    used = {ref for item in desired.values() for ref, r, _ in item.manifest.references if not r.key}
    for ref, item in desired.items():
        cause = item.sweep.unknown if item.sweep is not None else None
        if cause is not None and cause.code is ReasonCode.VARIANTS_INCOMPLETE and ref in used:
            yield ref, cause


def _unknown(plan: Plan) -> dict[Reason, tuple[ObjectRef, ...]]:
    found: dict[Reason, tuple[ObjectRef, ...]] = {}
    for ref, item in plan.inputs.desired.items():
        cause = item.blocked
        if cause is not None and cause.code in UNKNOWABLE:
            found[cause] = (*found.get(cause, ()), ref)
    return found


def _kept(plan: Plan) -> set[ObjectRef]:
    """Return the objects without a manifest that stay without a hold."""
    return {ref for ref, reason in plan.kept.items() if reason.code not in HELD_REMOVALS}


def _withheld(plan: Plan, before: Plan) -> Iterator[tuple[Reason, tuple[ObjectRef, ...]]]:
    """Yield the objects that stay since the change, by reason."""
    groups: dict[ReasonCode, list[ObjectRef]] = {}
    for ref in sorted(_kept(plan) - before.kept.keys()):
        groups.setdefault(plan.kept[ref].code, []).append(ref)
    for refs in groups.values():
        yield plan.kept[refs[0]], tuple(sorted(refs))


# -- by object -----------------------------------------------------------------------------


def _touched(
    plan: Plan, whys: Mapping[ObjectRef, Change], actions: Iterable[Action]
) -> Iterator[ObjectReview]:
    """Yield objects with a changed manifest or a caused action."""
    by_ref: dict[ObjectRef, list[Action]] = {}
    for action in actions:
        if action.caused:
            by_ref.setdefault(action.ref, []).append(action)
    desired, kept = plan.inputs.desired, _kept(plan)
    for ref in [*desired, *(ref for ref in sorted(by_ref.keys() - kept) if ref not in desired)]:
        why, caused = whys.get(ref), by_ref.get(ref, [])
        blocked = ref in desired and desired[ref].blocked is not None
        shown = tuple(
            action
            for action in caused
            # Of tasks whose keys are unknown there is one thing to say: why, once for the object.
            if action.reason.code is not ReasonCode.NOT_NEEDED
            and not (blocked and action.key is None and action.action is ActionKind.WAIT)
        )
        if why is None and not shown:
            continue
        yield ObjectReview(
            ref=ref,
            why=why,
            place=_place(why, shown),
            actions=_together(shown),
            free=None if shown else _free(plan, ref, why),
            upstream=tuple(_upstream(plan, ref)),
        )


def _together(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Merge a removed object's tasks, except those with a live run."""
    going = [a for a in actions if a.action is ActionKind.DELETE and a.run is None]
    if not going:
        return actions
    return (*(a for a in actions if a not in going), replace(going[0], task=None, key=None))


def _identity(plan: Plan, action: Action) -> tuple[object, ...]:
    """Return the identity of an action across two plans.

    A refusal for another problem is another action; one that has moved is not.
    """
    problem = plan.inputs.invalid.get(action.ref) if action.action is ActionKind.REFUSE else None
    found = problem and (problem.field, problem.message)
    return (action.ref, action.task, action.action, action.key, found)


def _place(why: Change | None, actions: Sequence[Action]) -> Location | None:
    refused = [a for a in actions if a.action is ActionKind.REFUSE and a.file]
    if why is not None and why.place is not None and not refused:
        return why.place
    for action in refused or actions:
        if action.file is not None:
            return Location(action.file, action.line or 0)
    return None


def _free(plan: Plan, ref: ObjectRef, why: Change | None) -> Reason:
    item = plan.inputs.desired[ref]
    if item.promoted is not None:
        inputs = plan.inputs
        for gate, found in unaccepted(item, inputs.desired, inputs.records, inputs.ledger):
            if found.rejected:
                key = (item.key or "")[:12]
                return Reason.of(ReasonCode.BASE_REJECTED, object=gate, key=key)
            return Reason.of(ReasonCode.TAKES_OVER_ONCE_ACCEPTED, object=item.promoted)
        there = item.external is not None or plan.inputs.ledger.result(item.key) is not None
        code = ReasonCode.TAKES_OVER if there else ReasonCode.TAKES_OVER_ONCE_MADE
        return Reason.of(code, object=item.promoted)
    if item.blocked is not None:
        if item.blocked.root.code is ReasonCode.VARIANTS_INCOMPLETE:
            return Reason.of(ReasonCode.KEPT_UNTIL_CHOSEN, cause=item.blocked)
        if why is not None and why.chain:
            return Reason.of(ReasonCode.KEPT_UNTIL_MENDED)
        return Reason.of(ReasonCode.KEPT_WHILE_BLOCKED, cause=item.blocked)
    if item.external is not None:
        return Reason.of(ReasonCode.ALREADY_THERE)
    effects = {change.effect for change in why.fields} if why else set()
    if effects == {Effect.EXECUTION} and why is not None and not why.chain:
        return Reason.of(ReasonCode.ONLY_EXECUTION_CHANGES)
    if Effect.KEY not in effects and why is not None and not (why.is_own or why.chain):
        return Reason.of(ReasonCode.RESULT_UNCHANGED)
    return Reason.of(ReasonCode.NOTHING_RUNS)


def _upstream(plan: Plan, ref: ObjectRef) -> Iterator[ObjectRef]:
    item = plan.inputs.desired.get(ref)
    if item is not None:
        found = (up for up, _, _ in item.manifest.references)
        yield from dict.fromkeys(up for up in found if isinstance(up, ObjectRef))
