"""Whatever happens, in whatever order: no artifact that a root reaches is taken away.

2,000 histories; RETENTION_HISTORIES says another number.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler.planner import (
    Referrer,
    RetainedArtifact,
    RetentionInput,
    RetentionPolicy,
    Role,
    plan_retention,
    unreadable,
)
from reconciler.types import Kind, ObjectRef, TaskKey

HISTORIES = int(os.environ.get("RETENTION_HISTORIES", "2000"))
OBJECTS = [ObjectRef(Kind.MODEL, "default", name) for name in "abc"]
ROLES = [Role.CURRENT, Role.PIN, Role.REQUEST, Role.BRANCH, Role.CLUSTER, Role.CANDIDATE]
DAY = timedelta(days=1)
POLICIES = st.builds(
    RetentionPolicy,
    enabled=st.just(value=True),
    keep=st.integers(0, 3),
    days=st.sampled_from([0, 2, 30]),
    grace=st.sampled_from([timedelta(0), DAY, 7 * DAY]),
    max_share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)


@dataclass
class Store:
    """Artifacts in a bucket and in the records; the roots; a clock."""

    policy: RetentionPolicy
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    artifacts: dict[TaskKey, RetainedArtifact] = field(default_factory=dict)
    roots: dict[TaskKey, Role] = field(default_factory=dict)
    removed: set[TaskKey] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    doubted: bool = False

    def make(self, number: int, inputs: list[int], size: int, *, evaluates: bool) -> None:
        made = sorted(self.artifacts)
        chosen = tuple(dict.fromkeys(made[n % len(made)] for n in inputs)) if made else ()
        key = TaskKey(f"{len(self.artifacts) + len(self.removed):040x}")
        self.artifacts[key] = RetainedArtifact(
            key=key,
            ref=OBJECTS[number % len(OBJECTS)],
            url=f"file:///{key}",
            made=self.now,
            size=size,
            inputs=chosen,
            evaluated=chosen[0] if evaluates and chosen else None,
        )

    def build(self, number: int, digest: int, size: int) -> None:
        """A build pushes an image; builds of one digest push the same one."""
        key = TaskKey(f"{len(self.artifacts) + len(self.removed):040x}")
        self.artifacts[key] = RetainedArtifact(
            key=key,
            ref=OBJECTS[number % len(OBJECTS)],
            url=f"registry/default@sha256:{digest % 5:064x}",
            made=self.now,
            size=size,
            is_image=True,
        )

    def run_in(self, number: int) -> None:
        """The last artifact was made in some image, by its key or its digest."""
        images = sorted(key for key, each in self.artifacts.items() if each.is_image)
        made = sorted(self.artifacts.keys() - {*images})
        if images and made:
            image = images[number % len(images)]
            name = image if number % 2 else TaskKey(self.artifacts[image].url.partition("@")[2])
            self.artifacts[made[-1]] = replace(self.artifacts[made[-1]], images=(name,))

    def refer(self, number: int, role: Role) -> None:
        made = sorted(self.artifacts)
        if made:
            found = self.artifacts[made[number % len(made)]]
            digest = found.is_image and number % 3 == 0
            self.roots[TaskKey(found.url.partition("@")[2]) if digest else found.key] = role

    def revert(self, number: int) -> None:
        """A commit asks for something that is hidden."""
        gone = sorted(key for key, each in self.artifacts.items() if each.hidden is not None)
        if gone:
            self.roots[gone[number % len(gone)]] = Role.DESIRED

    def forget(self, number: int) -> None:
        if self.roots:
            del self.roots[sorted(self.roots)[number % len(self.roots)]]

    def undo(self, number: int) -> None:
        """A user moves a marker back: the artifact counts as made now."""
        gone = sorted(key for key, each in self.artifacts.items() if each.hidden is not None)
        if gone:
            key = gone[number % len(gone)]
            self.artifacts[key] = replace(self.artifacts[key], hidden=None, made=self.now)

    def collect(self, stop: int, *, release: bool) -> None:
        """Collect; the daemon is killed after ``stop`` steps."""
        inputs = RetentionInput(
            policy=self.policy,
            now=self.now,
            artifacts=dict(self.artifacts),
            roots={key: (Referrer(role, "x"),) for key, role in self.roots.items()},
            doubts=(unreadable("branch", "x", "gone"),) if self.doubted else (),
            released=frozenset(self.released),
        )
        plan = plan_retention(inputs)
        if release:
            self.released |= {hold.id for hold in plan.holds}
        reachable = self.reachable()
        held = {key for hold in plan.holds for key in hold.keys}
        taken = [*plan.hide, *plan.remove]
        assert not reachable & {*taken, *plan.unreferenced}
        assert plan.kept.keys() >= reachable
        assert not held & set(plan.hide)
        assert not (self.doubted and taken)
        for key in plan.remove:
            since = self.artifacts[key].hidden
            assert since is not None
            assert self.now - since >= self.policy.grace
            same = {k for k, a in self.artifacts.items() if a.url == self.artifacts[key].url}
            assert same <= set(plan.remove), "of an image all builds go, or none"
        self.check_share(plan.hide)
        steps = [("restore", key) for key in plan.restore]
        steps += [("hide", key) for key in plan.hide] + [("remove", key) for key in plan.remove]
        for step, key in steps[:stop]:
            match step:
                case "restore":
                    self.artifacts[key] = replace(self.artifacts[key], hidden=None)
                case "hide":
                    self.artifacts[key] = replace(self.artifacts[key], hidden=self.now)
                case _:
                    del self.artifacts[key]
                    self.removed.add(key)
        for key in reachable:
            assert key in self.artifacts
        if stop >= len(steps):
            assert all(self.artifacts[key].hidden is None for key in reachable)

    def check_share(self, hide: tuple[TaskKey, ...]) -> None:
        for ref, is_image in itertools.product((None, *OBJECTS), (False, True)):
            own = {
                k
                for k, a in self.artifacts.items()
                if ref in (None, a.ref) and a.is_image is is_image and not a.hidden
            }
            going = own & set(hide)
            size, whole = (sum(self.artifacts[k].size for k in keys) for keys in (going, own))
            assert self.released or len(going) < 2 or size <= self.policy.max_share * whole

    def reachable(self) -> set[TaskKey]:
        """Work out what must stay, apart from the planner."""
        found = self.named(self.roots)
        young = timedelta(days=self.policy.days)
        found |= {key for key, a in self.artifacts.items() if self.now - a.made < young}
        for ref in OBJECTS:
            for is_image in (False, True):
                own = [a for a in self.artifacts.values() if a.ref == ref and a.evaluated is None]
                own = [a for a in own if a.is_image is is_image]
                own.sort(key=lambda a: (a.made, a.key))
                found |= {a.key for a in own[max(0, len(own) - self.policy.keep) :]}
        while True:
            more = {key for each in found for key in self.artifacts[each].inputs}
            more |= {key for key, a in self.artifacts.items() if a.evaluated in found}
            more |= self.named(name for each in found for name in self.artifacts[each].images)
            urls = {self.artifacts[each].url for each in found}
            more |= {key for key, a in self.artifacts.items() if a.url in urls}
            if not more & self.artifacts.keys() - found:
                return found
            found |= more & self.artifacts.keys()

    def named(self, names: Iterable[TaskKey]) -> set[TaskKey]:
        """The artifacts of these keys, and the images of these digests."""
        wanted = set(names)
        return {
            key
            for key, a in self.artifacts.items()
            if key in wanted or a.url.partition("@")[2] in wanted
        }


NUMBERS = st.integers(0, 40)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("make"),
            NUMBERS,
            st.lists(NUMBERS, max_size=2),
            st.integers(0, 1000),
            st.booleans(),
        ),
        st.tuples(st.just("build"), NUMBERS, NUMBERS, st.integers(0, 1000)),
        st.tuples(st.just("run in"), NUMBERS),
        st.tuples(st.just("refer"), NUMBERS, st.sampled_from(ROLES)),
        st.tuples(st.just("forget"), NUMBERS),
        st.tuples(st.just("revert"), NUMBERS),
        st.tuples(st.just("undo"), NUMBERS),
        st.tuples(st.just("doubt"), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1, 3, 10, 40])),
        st.tuples(st.just("collect"), st.sampled_from([0, 1, 2, 99]), st.booleans()),
    ),
    min_size=8,
    max_size=40,
)


@settings(
    max_examples=HISTORIES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(POLICIES, STEPS)
def test_no_artifact_that_a_root_reaches_is_taken_away(
    policy: RetentionPolicy, steps: list[tuple[object, ...]]
) -> None:
    store = Store(policy)
    for step in steps:
        if not _make(store, step):
            _go_on(store, step)
    store.collect(99, release=False)


def _make(store: Store, step: tuple[object, ...]) -> bool:
    match step:
        case ("make", int(number), list(inputs), int(size), bool(evaluates)):
            store.make(number, inputs, size, evaluates=evaluates)
        case ("build", int(number), int(digest), int(size)):
            store.build(number, digest, size)
        case ("run in", int(number)):
            store.run_in(number)
        case _:
            return False
    return True


def _go_on(store: Store, step: tuple[object, ...]) -> None:
    match step:
        case ("refer", int(number), Role() as role):
            store.refer(number, role)
        case ("forget", int(number)):
            store.forget(number)
        case ("revert", int(number)):
            store.revert(number)
        case ("undo", int(number)):
            store.undo(number)
        case ("doubt", bool(doubted)):
            store.doubted = doubted
        case ("wait", (int() | float()) as days):
            store.now += days * DAY
        case ("collect", int(stop), bool(release)):
            store.collect(stop, release=release)
        case _:
            raise AssertionError(step)
