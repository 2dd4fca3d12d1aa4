"""What is told of, and what is not."""

from __future__ import annotations

from dataclasses import replace

from reconciler.notify.events import (
    LONGEST_MESSAGE,
    MOST_KEPT,
    MOST_LISTED,
    Event,
    Waiting,
    news,
)
from reconciler.planner.object_status import ArtifactStatus, ManifestStatus, ObjectStatus
from reconciler.planner.phases import Phase
from reconciler.types import Commit, Kind, ObjectRef, TaskKey

EVERY = frozenset(Phase)


def ref(name: str) -> ObjectRef:
    return ObjectRef(Kind.MODEL, "default", name)


def recorded(**phases: Phase) -> dict[ObjectRef, ObjectStatus]:
    return {ref(name): ObjectStatus(ref=ref(name), phase=phase) for name, phase in phases.items()}


def told(
    before: dict[ObjectRef, ObjectStatus],
    after: dict[ObjectRef, ObjectStatus],
    phases: frozenset[Phase],
) -> list[tuple[str, Phase | None, Phase]]:
    return [(event.ref.name, event.before, event.phase) for event in news(before, after, phases)]


def test_an_object_is_told_of_when_it_comes_into_one_of_the_phases() -> None:
    before = recorded(a=Phase.TRAINING, b=Phase.READY, c=Phase.READY)
    after = recorded(a=Phase.FAILED, b=Phase.READY, c=Phase.TRAINING, d=Phase.READY)
    asked = frozenset({Phase.FAILED, Phase.READY})
    assert told(before, after, asked) == [
        ("a", Phase.TRAINING, Phase.FAILED),
        ("d", None, Phase.READY),
    ]


def test_what_is_recorded_already_is_not_told_again() -> None:
    records = recorded(a=Phase.FAILED, b=Phase.READY)
    later = {each: replace(record, message="another") for each, record in records.items()}
    assert told(records, later, EVERY) == []


def test_a_promotion_is_told_of_when_it_serves_another_artifact_not_when_it_asks_for_it() -> None:
    first = {each: made(record, "a") for each, record in recorded(a=Phase.READY).items()}
    asked = {each: replace(record, desired=TaskKey("b" * 40)) for each, record in first.items()}
    swapped = {each: made(record, "b") for each, record in recorded(a=Phase.READY).items()}
    assert list(news(first, asked, EVERY)) == []
    (event,) = news(asked, swapped, EVERY)
    assert (event.key_before, event.key) == ("a" * 40, "b" * 40)


def test_an_object_that_is_ready_with_another_artifact_is_told_of() -> None:
    first = {each: made(record, "a") for each, record in recorded(a=Phase.READY).items()}
    second = {each: made(record, "b") for each, record in recorded(a=Phase.READY).items()}
    (event,) = news(first, second, EVERY)
    assert (event.before, event.phase, event.key) == (Phase.READY, Phase.READY, "b" * 40)
    assert event.artifact == "file:///b"
    waiting = Waiting()
    waiting.add([event])
    waiting.add(news(second, first, EVERY))
    assert not waiting, "it is back where it was"


def test_each_artifact_that_a_gate_rejects_is_told_of_once() -> None:
    asked = {
        key: {
            each: replace(record, desired=TaskKey(key * 40), message=f"accuracy of {key}")
            for each, record in recorded(a=Phase.REJECTED).items()
        }
        for key in ("a", "b")
    }
    (event,) = news(recorded(a=Phase.TRAINING), asked["a"], frozenset({Phase.REJECTED}))
    assert (event.before, event.phase, event.key) == (Phase.TRAINING, Phase.REJECTED, "a" * 40)
    assert event.message == "accuracy of a"
    assert event.artifact is None, "it is nobody's to use"
    (event,) = news(asked["a"], asked["b"], EVERY)
    assert (event.before, event.key, event.key_before) == (Phase.REJECTED, "b" * 40, "a" * 40)
    assert list(news(asked["b"], dict(asked["b"]), EVERY)) == []


def made(record: ObjectStatus, key: str) -> ObjectStatus:
    artifact = ArtifactStatus(url=f"file:///{key}", key=TaskKey(key * 40))
    return replace(record, desired=artifact.key, artifact=artifact)


def test_a_hold_is_told_once_however_many_objects_it_holds() -> None:
    before = recorded(a=Phase.READY, b=Phase.READY, c=Phase.READY)
    held = {
        each: replace(record, phase=Phase.HELD, hold="1f", message="release it with the line 1f")
        for each, record in recorded(a=Phase.HELD, b=Phase.HELD, c=Phase.HELD).items()
    }
    (event,) = news(before, held, EVERY)
    assert (event.objects, event.phase) == (3, Phase.HELD)
    assert "line 1f" in event.message
    other = {
        each: replace(record, hold="2e", message="held: more") for each, record in held.items()
    }
    assert [event.message for event in news(held, other, EVERY)] == ["held: more"]
    assert list(news(held, dict(held), EVERY)) == []


def test_an_event_says_where_its_manifest_is_and_is_bounded() -> None:
    where = ManifestStatus(path="models/a.yaml", commit=Commit("c" * 40), digest="")
    record = ObjectStatus(ref=ref("a"), phase=Phase.FAILED, message="x" * 10_000, manifest=where)
    (event,) = news({}, {record.ref: record}, EVERY)
    assert (event.path, event.commit) == ("models/a.yaml", "c" * 40)
    assert len(event.message) == LONGEST_MESSAGE


def event(name: str, before: Phase | None, phase: Phase) -> Event:
    return Event(ref=ref(name), before=before, phase=phase)


def test_of_an_object_only_the_newest_is_sent() -> None:
    waiting = Waiting()
    waiting.add([event("a", Phase.READY, Phase.TRAINING), event("b", None, Phase.TRAINING)])
    waiting.add([event("a", Phase.TRAINING, Phase.FAILED)])
    digest = waiting.take()
    assert [(e.ref.name, e.before, e.phase) for e in digest.events] == [
        ("a", Phase.READY, Phase.FAILED),
        ("b", None, Phase.TRAINING),
    ]
    assert not waiting
    assert waiting.take().events == ()


def test_an_object_that_is_back_where_it_was_is_not_told_of() -> None:
    waiting = Waiting()
    waiting.add([event("a", Phase.READY, Phase.FAILED), event("a", Phase.FAILED, Phase.READY)])
    assert not waiting


def test_much_news_is_listed_by_urgency_and_the_rest_counted() -> None:
    waiting = Waiting()
    count = MOST_KEPT + 500
    waiting.add([event(f"m{number}", Phase.TRAINING, Phase.READY) for number in range(count - 1)])
    waiting.add([event("m0", Phase.READY, Phase.FAILED)])
    digest = waiting.take()
    assert len(digest.events) == MOST_LISTED
    assert (digest.events[0].ref.name, digest.events[0].phase) == ("m0", Phase.FAILED)
    assert digest.counts == {Phase.FAILED: 1, Phase.READY: count - 2}
    assert digest.more == count - 1 - MOST_LISTED
