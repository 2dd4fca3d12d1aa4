"""Collection of artifacts by policy. Pure.

A root is an artifact that something refers to; what it was made from is kept with it. The rest is
hidden, and removed once it has been hidden for the grace time::

    plan = plan_retention(RetentionInput(policy=..., now=..., artifacts=..., roots=...))

* What a root reaches is never hidden or removed, and is restored if it is hidden.
* With a doubt nothing is hidden or removed: a root may be in what could not be read.
* What takes more than the share of an object's bytes, or of all, is held until it is released. One
  artifact alone is not: of four of an object's, one is a quarter.
"""

from __future__ import annotations

import enum
from collections import Counter, defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.planner.names import hold_id
from reconciler.planner.retention_policy import RetentionPolicy
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import ObjectRef, TaskKey


class Role(enum.StrEnum):
    """The role in which an artifact is referred to."""

    CURRENT = "current of"
    CANDIDATE = "candidate of"
    DESIRED = "desired by"
    SERVED = "served by"
    RUN = "made by run"
    PIN = "pinned in"
    REQUEST = "desired by pull request"
    BRANCH = "desired by branch"
    CLUSTER = "used by cluster"
    NEWEST = "among the newest of"
    YOUNG = "younger than"
    INPUT = "input of"
    EVALUATION = "evaluation of"


@dataclass(frozen=True, slots=True)
class Referrer:
    """A referrer of an artifact: its role and its name."""

    role: Role
    name: str

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


#: The references to artifacts, by key.
Roots = Mapping[TaskKey, tuple[Referrer, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedArtifact:
    """A complete artifact that this cluster has made.

    ``made`` is its end, or the time of an undo since. ``inputs`` are the artifacts that it was made
    from, ``size`` is in bytes. ``evaluated`` is the artifact that it is the evaluation of.
    ``hidden`` is when it was hidden.
    """

    key: TaskKey
    ref: ObjectRef
    url: str
    made: datetime
    size: int
    inputs: tuple[TaskKey, ...] = ()
    evaluated: TaskKey | None = None
    hidden: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionInput:
    """The complete input of a collection.

    ``artifacts`` are in the order of the history, oldest first. ``roots`` are references from
    outside of them; ``doubts`` say what could not be read. ``released`` are the ids of released
    holds.
    """

    policy: RetentionPolicy
    now: datetime
    artifacts: Mapping[TaskKey, RetainedArtifact]
    roots: Roots = field(default_factory=dict)
    doubts: tuple[Reason, ...] = ()
    released: Container[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionHold:
    """Artifacts that take more than the allowed share.

    ``ref`` is the object whose bytes they are a share of; None: they are of all.
    """

    id: str
    ref: ObjectRef | None
    keys: frozenset[TaskKey]
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """The steps of a collection, the oldest artifact first.

    ``kept`` has who refers to what stays. ``unreferenced`` is all that nothing refers to and that
    is not hidden; ``hide`` is the part of it that no hold and no doubt keeps.
    """

    kept: Roots
    unreferenced: tuple[TaskKey, ...] = ()
    hide: tuple[TaskKey, ...] = ()
    remove: tuple[TaskKey, ...] = ()
    restore: tuple[TaskKey, ...] = ()
    holds: tuple[RetentionHold, ...] = ()
    doubts: tuple[Reason, ...] = ()


def plan_retention(inputs: RetentionInput) -> RetentionPlan:
    """Plan a collection: artifacts to keep, hide, remove and restore."""
    artifacts, policy = inputs.artifacts, inputs.policy
    kept = _reached(inputs)
    rest = sorted(
        (a for key, a in artifacts.items() if key not in kept), key=lambda a: (a.made, a.key)
    )
    unreferenced = [artifact for artifact in rest if artifact.hidden is None]
    due = [a for a in rest if a.hidden is not None and inputs.now - a.hidden >= policy.grace]
    restore = [a for key, a in sorted(artifacts.items()) if key in kept and a.hidden is not None]
    holds = tuple(_holds(inputs, unreferenced))
    held = frozenset[TaskKey]().union(*(hold.keys for hold in holds))
    certain = not inputs.doubts
    return RetentionPlan(
        kept=kept,
        unreferenced=_keys(unreferenced),
        hide=_keys(a for a in unreferenced if certain and a.key not in held),
        remove=_keys(due) if certain else (),
        restore=_keys(restore),
        holds=holds,
        doubts=inputs.doubts,
    )


def has_unreferenced(inputs: RetentionInput) -> bool:
    """Return whether nothing refers to some artifact, hidden or not."""
    return len(_reached(inputs)) < len(inputs.artifacts)


def _keys(artifacts: Iterable[RetainedArtifact]) -> tuple[TaskKey, ...]:
    return tuple(artifact.key for artifact in artifacts)


# -- what is kept ------------------------------------------------------------------------------


def _reached(inputs: RetentionInput) -> Roots:
    """Return who refers to each artifact that a root reaches."""
    found: dict[TaskKey, dict[Referrer, None]] = defaultdict(dict)
    upstream = _upstream(inputs.artifacts)
    waiting = deque((key, each) for key, referrers in inputs.roots.items() for each in referrers)
    waiting += _recent(inputs)
    while waiting:
        key, referrer = waiting.popleft()
        if key not in found:
            waiting += upstream.get(key, ())
        found[key][referrer] = None
    return {key: tuple(found[key]) for key in found if key in inputs.artifacts}


def _upstream(
    artifacts: Mapping[TaskKey, RetainedArtifact],
) -> Mapping[TaskKey, list[tuple[TaskKey, Referrer]]]:
    """Return what is kept with each artifact: its inputs, and its evaluations."""
    found: dict[TaskKey, list[tuple[TaskKey, Referrer]]] = defaultdict(list)
    for key, artifact in artifacts.items():
        found[key] += [(made_from, Referrer(Role.INPUT, key)) for made_from in artifact.inputs]
        if artifact.evaluated is not None:
            found[artifact.evaluated].append((key, Referrer(Role.EVALUATION, artifact.evaluated)))
    return found


def _recent(inputs: RetentionInput) -> Iterator[tuple[TaskKey, Referrer]]:
    """Yield the newest artifacts of each object, and the young ones."""
    policy = inputs.policy
    of_object: dict[ObjectRef, list[RetainedArtifact]] = defaultdict(list)
    for artifact in inputs.artifacts.values():
        if artifact.evaluated is None:
            of_object[artifact.ref].append(artifact)
        if inputs.now - artifact.made < timedelta(days=policy.days):
            yield artifact.key, Referrer(Role.YOUNG, f"{policy.days:g} days")
    for ref, own in of_object.items():
        # Times are whole seconds: of one second, the newest are the last in the history.
        own.sort(key=lambda artifact: artifact.made)
        for artifact in own[::-1][: policy.keep]:
            yield artifact.key, Referrer(Role.NEWEST, str(ref))


# -- what is held ------------------------------------------------------------------------------


def _holds(inputs: RetentionInput, going: list[RetainedArtifact]) -> Iterator[RetentionHold]:
    """Yield the holds of single objects, then that of all."""
    by_object: dict[ObjectRef, list[RetainedArtifact]] = defaultdict(list)
    for artifact in going:
        by_object[artifact.ref].append(artifact)
    sizes = Counter[ObjectRef]()
    for artifact in inputs.artifacts.values():
        if artifact.hidden is None:
            sizes[artifact.ref] += artifact.size
    rest: list[RetainedArtifact] = []
    for ref, own in sorted(by_object.items()):
        hold = _hold(inputs, own, ref, whole=sizes[ref])
        if hold is not None:
            yield hold
        else:
            rest += own
    hold = _hold(inputs, rest, None, whole=sizes.total())
    if hold is not None:
        yield hold


def _hold(
    inputs: RetentionInput, going: list[RetainedArtifact], ref: ObjectRef | None, *, whole: int
) -> RetentionHold | None:
    """Return the hold of an object's unreferenced artifacts, or of all.

    ``whole`` are the bytes that their share is of.
    """
    share = inputs.policy.max_share
    size = sum(artifact.size for artifact in going)
    if len(going) < 2 or size <= share * whole:
        return None
    identifier = hold_id(["collect", *(artifact.key for artifact in going)])
    if identifier in inputs.released:
        return None
    reason = Reason.of(
        ReasonCode.COLLECTION_TOO_LARGE,
        artifacts=len(going),
        whose=ref if ref is not None else "all objects",
        size=size,
        whole=whole,
        share=share,
    )
    return RetentionHold(
        id=identifier, ref=ref, keys=frozenset(artifact.key for artifact in going), reason=reason
    )
