"""Collection of artifacts by policy. Pure.

A root is an artifact that something refers to; what it was made from is kept with it. The rest is
hidden, and removed once it has been hidden for the grace time::

    plan = plan_retention(RetentionInput(policy=..., now=..., artifacts=..., roots=...))

* What a root reaches is never hidden or removed, and is restored if it is hidden.
* With a doubt nothing is hidden or removed: a root may be in what could not be read.
* What stays, and of which it is not known what it was made from, may be made from any artifact: of
  these none is hidden or removed. An image that one was made in is recorded.
* What takes more than the share of an object's bytes, or of all, is held until it is released. One
  artifact alone is not: of four of an object's, one is a quarter.
"""

from __future__ import annotations

import enum
from collections import Counter, defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.engine import CollectedKind
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
    IMAGE = "image of"
    SAME_IMAGE = "same image as"
    EVALUATION = "evaluation of"


@dataclass(frozen=True, slots=True)
class Referrer:
    """A referrer of an artifact: its role and its name."""

    role: Role
    name: str

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


#: The references to artifacts, by key; to images also by digest.
Roots = Mapping[TaskKey, tuple[Referrer, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedArtifact:
    """A complete artifact that this cluster has made.

    ``made`` is its end, or the time of an undo since. ``inputs`` are the artifacts that it was made
    from, ``size`` is in bytes. ``images`` are the keys or digests of the image that it was made in.
    ``evaluated`` is the artifact that it is the evaluation of. ``hidden`` is when it was hidden.
    ``is_image``: it is an image in a registry, and ``url`` its reference by digest. Where it is not
    ``dated``, its end is unknown. ``restored``: ``made`` is the time of an undo.
    """

    key: TaskKey
    ref: ObjectRef
    url: str
    made: datetime
    size: int
    inputs: tuple[TaskKey, ...] = ()
    images: tuple[TaskKey, ...] = ()
    evaluated: TaskKey | None = None
    hidden: datetime | None = None
    dated: bool = True
    is_image: bool = False
    restored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """A folder that failed attempts or a try have left.

    ``since`` is the end of the last of them; ``size`` is in bytes.
    """

    key: TaskKey
    ref: ObjectRef
    url: str
    since: datetime
    what: CollectedKind
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionInput:
    """The complete input of a collection.

    ``artifacts`` are in the order of the history, oldest first. ``roots`` are references from
    outside of them; ``doubts`` say what could not be read. ``untouched`` says which images cannot
    be collected, which keeps nothing else, and which artifacts. ``unread`` are artifacts whose
    state cannot be read now, and which are left alone; of those that are ``unknown`` the inputs are
    not known either. ``released`` are the ids of released holds.
    """

    policy: RetentionPolicy
    now: datetime
    artifacts: Mapping[TaskKey, RetainedArtifact]
    roots: Roots = field(default_factory=dict)
    doubts: tuple[Reason, ...] = ()
    untouched: tuple[Reason, ...] = ()
    unread: AbstractSet[TaskKey] = frozenset()
    unknown: AbstractSet[TaskKey] = frozenset()
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
    """Plan a collection: artifacts to keep, hide, remove and restore.

    With doubts nothing goes, so nobody is asked to release a hold either.
    """
    artifacts, policy = inputs.artifacts, inputs.policy
    kept, blind = _kept(inputs)
    rest = sorted(
        (a for key, a in artifacts.items() if key not in kept), key=lambda a: (a.made, a.key)
    )
    unreferenced = [artifact for artifact in rest if artifact.hidden is None]
    # Builds of one digest are one image, which goes when the last of them is due.
    early = {a.url for a in rest if a.hidden is None or inputs.now - a.hidden < policy.grace}
    due = [a for a in rest if a.hidden is not None and a.url not in early]
    restore = [a for key, a in sorted(artifacts.items()) if key in kept and a.hidden is not None]
    holds = tuple(_holds(inputs, unreferenced)) if not inputs.doubts else ()
    held = frozenset[TaskKey]().union(*(hold.keys for hold in holds))

    def may_go(artifact: RetainedArtifact) -> bool:
        told = artifact.is_image or not (blind or artifact.key in inputs.unread)
        return told and not inputs.doubts

    return RetentionPlan(
        kept=kept,
        unreferenced=_keys(unreferenced),
        hide=_keys(a for a in unreferenced if may_go(a) and a.key not in held),
        remove=_keys(a for a in due if may_go(a)),
        restore=_keys(restore),
        holds=holds,
        doubts=inputs.doubts,
    )


def has_unreferenced(inputs: RetentionInput) -> bool:
    """Return whether nothing refers to some artifact, hidden or not."""
    return len(_kept(inputs)[0]) < len(inputs.artifacts)


def _keys(artifacts: Iterable[RetainedArtifact]) -> tuple[TaskKey, ...]:
    return tuple(artifact.key for artifact in artifacts)


# -- what is kept ------------------------------------------------------------------------------


def _kept(inputs: RetentionInput) -> tuple[Roots, bool]:
    """Return who refers to what is kept, and whether more may be.

    What is left alone keeps the image that it was made in, as what is kept does.
    """
    kept = _reached(inputs, ())
    blind = any(key in kept or key not in inputs.artifacts for key in inputs.unknown)
    left = [a for key, a in inputs.artifacts.items() if blind or key in inputs.unread]
    if not left:
        return kept, blind
    images = ((image, Referrer(Role.IMAGE, a.key)) for a in left for image in a.images)
    return _reached(inputs, images), blind


def _reached(inputs: RetentionInput, more: Iterable[tuple[TaskKey, Referrer]]) -> Roots:
    """Return who refers to each artifact that a root reaches.

    ``more`` are further roots.
    """
    found: dict[TaskKey, dict[Referrer, None]] = defaultdict(dict)
    builds = _builds(inputs.artifacts)
    upstream = _upstream(inputs.artifacts, builds)
    waiting = deque((key, each) for key, referrers in inputs.roots.items() for each in referrers)
    waiting += _recent(inputs)
    waiting += more
    while waiting:
        key, referrer = waiting.popleft()
        if key in builds:
            waiting += ((build, referrer) for build in builds[key])
            continue
        if key not in found:
            waiting += upstream.get(key, ())
        found[key][referrer] = None
    return {key: tuple(found[key]) for key in found if key in inputs.artifacts}


def _builds(artifacts: Mapping[TaskKey, RetainedArtifact]) -> Mapping[TaskKey, list[TaskKey]]:
    """Return the keys of builds by the digest of their image."""
    found: dict[TaskKey, list[TaskKey]] = defaultdict(list)
    for key, artifact in artifacts.items():
        if artifact.is_image:
            found[TaskKey(artifact.url.rpartition("@")[2])].append(key)
    return dict(found)


def _upstream(
    artifacts: Mapping[TaskKey, RetainedArtifact], builds: Mapping[TaskKey, list[TaskKey]]
) -> Mapping[TaskKey, list[tuple[TaskKey, Referrer]]]:
    """Return what is kept with each artifact.

    They are its inputs, its evaluations, its image, and the other builds of an image.
    """
    found: dict[TaskKey, list[tuple[TaskKey, Referrer]]] = defaultdict(list)
    for key, artifact in artifacts.items():
        found[key] += [(made_from, Referrer(Role.INPUT, key)) for made_from in artifact.inputs]
        found[key] += [(image, Referrer(Role.IMAGE, key)) for image in artifact.images]
        if artifact.evaluated is not None:
            found[artifact.evaluated].append((key, Referrer(Role.EVALUATION, artifact.evaluated)))
    for keys in builds.values():
        for key in keys if len(keys) > 1 else ():
            found[key] += [(each, Referrer(Role.SAME_IMAGE, key)) for each in keys if each != key]
    return found


def _recent(inputs: RetentionInput) -> Iterator[tuple[TaskKey, Referrer]]:
    """Yield each object's newest artifacts and images, and the young ones."""
    policy = inputs.policy
    of_object: dict[tuple[ObjectRef, bool], list[RetainedArtifact]] = defaultdict(list)
    for artifact in inputs.artifacts.values():
        if artifact.evaluated is None:
            of_object[artifact.ref, artifact.is_image].append(artifact)
        if inputs.now - artifact.made < timedelta(days=policy.days):
            yield artifact.key, Referrer(Role.YOUNG, f"{policy.days:g} days")
    for (ref, _), own in of_object.items():
        # Times are whole seconds: of one second, the newest are those that a user brought back,
        # and then the last in the history.
        own.sort(key=lambda artifact: (artifact.made, artifact.restored))
        # One without a date may be the newest, and takes no other's place.
        newest = [artifact for artifact in own[::-1] if artifact.dated][: policy.keep]
        for artifact in (*newest, *(artifact for artifact in own if not artifact.dated)):
            yield artifact.key, Referrer(Role.NEWEST, str(ref))


# -- what is held ------------------------------------------------------------------------------


def _holds(inputs: RetentionInput, going: list[RetainedArtifact]) -> Iterator[RetentionHold]:
    """Yield the holds of single objects, then that of all.

    Images count apart: most of their bytes may be layers that others have as well.
    """
    for is_image in (False, True):
        sizes = Counter[ObjectRef]()
        for artifact in inputs.artifacts.values():
            if artifact.hidden is None and artifact.is_image is is_image:
                sizes[artifact.ref] += artifact.size
        yield from _holds_of_a_kind(inputs, [a for a in going if a.is_image is is_image], sizes)


def _holds_of_a_kind(
    inputs: RetentionInput, going: list[RetainedArtifact], sizes: Counter[ObjectRef]
) -> Iterator[RetentionHold]:
    by_object: dict[ObjectRef, list[RetainedArtifact]] = defaultdict(list)
    for artifact in going:
        by_object[artifact.ref].append(artifact)
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
    owner = str(ref) if ref is not None else "all objects"
    reason = Reason.of(
        ReasonCode.COLLECTION_TOO_LARGE,
        artifacts=len(going),
        whose=f"images of {owner}" if going[0].is_image else owner,
        size=size,
        whole=whole,
        share=share,
    )
    return RetentionHold(
        id=identifier, ref=ref, keys=frozenset(artifact.key for artifact in going), reason=reason
    )
