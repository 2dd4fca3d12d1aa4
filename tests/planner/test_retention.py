"""What a collection keeps, hides, removes, restores and holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reconciler.planner import (
    Referrer,
    RetainedArtifact,
    RetentionInput,
    RetentionPlan,
    RetentionPolicy,
    Role,
    collect_roots,
    plan_retention,
    unreadable,
)
from reconciler.reasons import ReasonCode
from reconciler.types import Kind, ObjectRef, TaskKey

NOW = datetime(2026, 11, 30, tzinfo=UTC)
DAY = timedelta(days=1)
A, B = (ObjectRef(Kind.MODEL, "default", name) for name in "ab")
#: Nothing stays by itself, and nothing is held.
BARE = RetentionPolicy(enabled=True, keep=0, days=0, grace=7 * DAY, max_share=1.0)


def key(number: int) -> TaskKey:
    return TaskKey(f"{number:040x}")


def made(number: int, *inputs: int, ref: ObjectRef = A, age: float = 100) -> RetainedArtifact:
    return RetainedArtifact(
        key=key(number),
        ref=ref,
        url=f"file:///bucket/{ref.name}/{number}/",
        made=NOW - age * DAY,
        size=100,
        inputs=tuple(map(key, inputs)),
    )


def planned(
    *artifacts: RetainedArtifact,
    policy: RetentionPolicy = BARE,
    roots: tuple[int, ...] = (),
    **more: object,
) -> RetentionPlan:
    inputs = RetentionInput(
        policy=policy,
        now=NOW,
        artifacts={artifact.key: artifact for artifact in artifacts},
        roots=collect_roots(
            (key(root), Referrer(Role.CURRENT, "Model default/x")) for root in roots
        ),
    )
    return plan_retention(replace(inputs, **more))  # type: ignore[arg-type]


def hidden(artifact: RetainedArtifact, days: float) -> RetainedArtifact:
    return replace(artifact, hidden=NOW - days * DAY)


def test_what_a_root_was_made_from_stays_whatever_is_between() -> None:
    plan = planned(made(1), made(2, 1, ref=B), made(3, 2), made(4), roots=(3,))
    assert plan.hide == (key(4),)
    assert [str(each) for each in plan.kept[key(1)]] == [f"input of {key(2)}"]
    assert [str(each) for each in plan.kept[key(3)]] == ["current of Model default/x"]


def test_the_chain_goes_through_artifacts_that_are_not_here() -> None:
    """The other cluster's artifact between is not ours, but a root of it is."""
    assert planned(made(1), roots=(1, 9)).hide == ()


def test_the_newest_of_an_object_and_all_young_ones_stay() -> None:
    policy = replace(BARE, keep=2, days=30)
    artifacts = [made(n, age=90 + n) for n in range(1, 5)]
    plan = planned(*artifacts, made(8, age=29, ref=B), made(9, age=400, ref=B), policy=policy)
    assert plan.hide == (key(4), key(3))
    assert plan.kept[key(1)] == (Referrer(Role.NEWEST, "Model default/a"),)
    assert Referrer(Role.YOUNG, "30 days") in plan.kept[key(8)]


def test_an_artifact_of_an_unknown_end_stays_and_takes_no_place_of_the_newest() -> None:
    unknown = replace(made(1, age=0), dated=False)
    plan = planned(unknown, made(2, age=50), made(3, age=100), policy=replace(BARE, keep=1))
    assert plan.hide == (key(3),)


def test_of_one_second_the_newest_is_the_last_in_the_history() -> None:
    """Times are whole seconds, and a key says nothing of an age."""
    policy = replace(BARE, keep=1)
    for first, last in ((1, 2), (2, 1)):
        assert planned(made(first), made(last), policy=policy).hide == (key(first),)


def test_of_one_second_the_newest_is_what_a_user_brought_back() -> None:
    policy = replace(BARE, keep=1)
    back = replace(made(1), restored=True)
    assert planned(back, made(2), policy=policy).hide == (key(2),)


def test_an_evaluation_goes_with_its_artifact_and_counts_as_none_of_the_newest() -> None:
    policy = replace(BARE, keep=1)
    evaluations = [replace(made(n + 10, n, age=1), evaluated=key(n)) for n in (1, 2)]
    plan = planned(made(1, age=200), made(2, age=100), *evaluations, policy=policy)
    assert set(plan.hide) == {key(1), key(11)}
    assert plan.kept[key(12)] == (Referrer(Role.EVALUATION, key(2)),)


def test_what_is_hidden_is_removed_after_the_grace_time_and_no_earlier() -> None:
    plan = planned(hidden(made(1), 6.9), hidden(made(2), 7), hidden(made(3), -1))
    assert (plan.hide, plan.remove) == ((), (key(2),))


def test_what_is_referred_to_again_is_restored_and_not_removed() -> None:
    plan = planned(hidden(made(1), 100), made(2, 1), roots=(2,))
    assert (plan.restore, plan.remove) == ((key(1),), ())


def test_with_a_doubt_nothing_is_hidden_or_removed_and_the_reason_says_which() -> None:
    doubt = unreadable("branch", "release/1", "no such commit")
    plan = planned(made(1), hidden(made(2), 100), made(3, ref=B), doubts=(doubt,))
    assert (plan.hide, plan.remove, plan.doubts) == ((), (), (doubt,))
    assert plan.unreferenced == (key(1), key(3))
    again = planned(hidden(made(1), 1), roots=(1,), doubts=(doubt,))
    assert again.restore == (key(1),)  # which takes nothing away


def test_what_takes_more_than_the_share_of_an_object_is_held_until_released() -> None:
    policy = replace(BARE, max_share=0.5)
    artifacts = [made(n) for n in (1, 2, 3)] + [made(n, ref=B) for n in range(10, 20)]
    roots = (1, *range(11, 20))
    plan = planned(*artifacts, policy=policy, roots=roots)
    assert plan.hide == (key(10),)
    (hold,) = plan.holds
    assert (hold.ref, set(hold.keys)) == (A, {key(2), key(3)})
    assert hold.reason.code is ReasonCode.COLLECTION_TOO_LARGE
    released = planned(*artifacts, policy=policy, roots=roots, released={hold.id})
    assert released.holds == ()
    assert set(released.hide) == {key(2), key(3), key(10)}


def test_what_takes_more_than_the_share_of_all_is_held() -> None:
    policy = replace(BARE, max_share=0.3)
    of_a, of_b = [made(n) for n in range(4)], [made(n, ref=B) for n in range(10, 14)]
    plan = planned(*of_a, *of_b, policy=policy, roots=(1, 2, 3, 11, 12, 13))
    assert set(plan.hide) == {key(0), key(10)}
    plan = planned(*of_a, *of_b, policy=replace(policy, max_share=0.2), roots=(1, 2, 3, 11, 12, 13))
    assert (plan.hide, [hold.ref for hold in plan.holds]) == ((), [None])


def test_one_artifact_alone_is_not_held_however_large_its_share() -> None:
    """With keep: 3, the fourth of an object is a quarter of its bytes."""
    policy = replace(BARE, keep=3, max_share=0.2)
    plan = planned(*(made(n, age=200 - n) for n in range(4)), policy=policy)
    assert (plan.hide, plan.holds) == ((key(0),), ())


# -- images --------------------------------------------------------------------------------------


def image(number: int, digest: int | None = None, **more: object) -> RetainedArtifact:
    """The image of a build; another build may have made the same one."""
    name = f"sha256:{digest if digest is not None else number:064x}"
    found = made(number)
    return replace(found, url=f"registry/default@{name}", is_image=True, **more)  # type: ignore[arg-type]


def trained_in(number: int, *images: int) -> RetainedArtifact:
    return replace(made(number), images=tuple(map(key, images)))


def test_the_image_of_an_artifact_that_stays_stays() -> None:
    plan = planned(trained_in(1, 2), image(2), image(3), roots=(1,))
    assert plan.hide == (key(3),)
    assert [str(each) for each in plan.kept[key(2)]] == [f"image of {key(1)}"]


def test_an_image_that_something_names_by_digest_stays() -> None:
    digest = TaskKey(f"sha256:{2:064x}")
    roots = {digest: (Referrer(Role.PIN, "x.yaml"),)}
    artifacts = {each.key: each for each in (image(1), image(2))}
    plan = plan_retention(RetentionInput(policy=BARE, now=NOW, artifacts=artifacts, roots=roots))
    assert plan.hide == (key(1),)
    assert [str(each) for each in plan.kept[key(2)]] == ["pinned in x.yaml"]


def test_all_builds_of_one_digest_stay_for_one_of_them() -> None:
    plan = planned(image(1, 7), image(2, 7), image(3), roots=(2,))
    assert plan.hide == (key(3),)
    assert [str(each) for each in plan.kept[key(1)]] == [f"same image as {key(2)}"]


def test_an_image_goes_once_the_last_of_its_builds_is_due() -> None:
    hidden = NOW - 8 * DAY
    first, last = image(1, 7, hidden=hidden), image(2, 7, hidden=NOW - DAY)
    assert planned(first, last).remove == ()
    assert planned(first, replace(last, hidden=hidden)).remove == (key(1), key(2))


def test_images_take_no_place_of_the_newest_artifacts() -> None:
    policy = replace(BARE, keep=1)
    plan = planned(made(1, age=9), image(2, made=NOW - DAY), image(3, made=NOW), policy=policy)
    assert plan.hide == (key(2),)


def test_images_are_held_apart_from_artifacts() -> None:
    policy = replace(BARE, max_share=0.5)
    big = [image(n, size=10_000) for n in (1, 2)]
    plan = planned(*big, made(3), made(4), roots=(4,), policy=policy)
    assert plan.hide == (key(3),)
    (hold,) = plan.holds
    assert hold.keys == {key(1), key(2)}
    assert hold.reason.arguments["whose"] == "images of Model default/a"


def test_what_is_unread_is_left_alone_with_the_image_that_it_was_made_in() -> None:
    unread = replace(made(1), images=(key(3),))
    plan = planned(unread, made(2), image(3), image(4), unread={key(1)}, unknown={key(1)})
    assert plan.hide == (key(2), key(4)), "nothing that stays may be made from 2"


def test_what_stays_and_is_made_from_an_unknown_artifact_may_be_made_from_any() -> None:
    artifacts = made(1), replace(made(2), images=(key(3),)), image(3), image(4)
    hidden = replace(made(5), hidden=NOW - 30 * DAY)
    known = planned(*artifacts, hidden, roots=(1,), unread={key(1)})
    assert (known.hide, known.remove) == ((key(2), key(3), key(4)), (key(5),))
    unknown = planned(*artifacts, hidden, roots=(1,), unread={key(1)}, unknown={key(1)})
    assert (unknown.hide, unknown.remove) == ((key(4),), ())
    # One that is being restored is not among the complete ones, and stays.
    restoring = planned(*artifacts[1:], hidden, unread={key(1)}, unknown={key(1)})
    assert (restoring.hide, restoring.remove) == ((key(4),), ())
