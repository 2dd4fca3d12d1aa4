"""One leads; whoever was stopped for longer than the lease finds out before it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from reconciler.engines.kubernetes.client import Api
from reconciler.engines.kubernetes.leader_election import Leadership, OtherOwnerError
from tests.cluster.fixtures import Namespace
from tests.patience import PATIENCE

DURATION = 10


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def api(namespace: Namespace) -> AsyncIterator[Api]:
    api = await Api.connect(kubeconfig=str(namespace.cluster.kubeconfig))
    yield api
    await api.close()


def candidate(
    api: Api, namespace: Namespace, holder: str, clock: Clock, owner: str = "cluster a of b"
) -> Leadership:
    return Leadership(
        api,
        namespace=namespace.name,
        name="reconciler",
        holder=holder,
        owner=owner,
        duration=DURATION,
        clock=clock,
    )


def lease(namespace: Namespace) -> dict[str, object]:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace.name}/leases/reconciler"
    spec: dict[str, object] = namespace.cluster.api.get(path)["spec"]
    return spec


async def test_the_first_one_leads_and_the_second_does_not(api: Api, namespace: Namespace) -> None:
    clock = Clock()
    one, two = (candidate(api, namespace, name, clock) for name in ("one", "two"))
    assert await one._try()
    assert not await two._try()
    assert (one.leads, two.leads) == (True, False)
    assert lease(namespace)["holderIdentity"] == "one"
    clock.now += DURATION / 2
    assert await one._try(), "it renews"
    clock.now += DURATION / 2
    assert not await two._try(), "a renewed lease is not free"


async def test_of_many_that_try_at_once_one_leads(api: Api, namespace: Namespace) -> None:
    clock = Clock()
    many = [candidate(api, namespace, f"c{n}", clock) for n in range(8)]
    took = await asyncio.gather(*(one._try() for one in many))
    assert sum(took) == 1
    assert sum(one.leads for one in many) == 1


async def test_a_stopped_leader_does_not_lead_when_it_wakes(api: Api, namespace: Namespace) -> None:
    mine, theirs = Clock(), Clock()
    one, two = candidate(api, namespace, "one", mine), candidate(api, namespace, "two", theirs)
    assert await one._try()
    assert not await two._try()
    theirs.now += DURATION + 1
    assert await two._try(), "it was not renewed for its whole duration"
    mine.now += DURATION + 1
    assert not one.leads, "before it has asked anybody"
    assert not await one._try()
    assert two.epoch == one.epoch + 1


async def test_a_stopped_leader_whose_lease_nobody_took_takes_a_new_epoch_at_once(
    api: Api, namespace: Namespace
) -> None:
    clock = Clock()
    one = candidate(api, namespace, "one", clock)
    assert await one._try()
    clock.now += DURATION + 1
    assert not one.leads
    assert await one._try(), "there is nobody to wait for"
    assert (one.epoch, lease(namespace)["leaseTransitions"]) == (1, 1)


async def test_nobody_leads_in_the_last_part_of_a_lease_that_was_not_renewed(
    api: Api, namespace: Namespace
) -> None:
    clock = Clock()
    one, two = candidate(api, namespace, "one", clock), candidate(api, namespace, "two", clock)
    assert await one._try()
    assert not await two._try()
    clock.now += DURATION * 0.9
    assert not one.leads
    assert not await two._try()


async def test_a_released_lease_is_taken_at_once(api: Api, namespace: Namespace) -> None:
    clock = Clock()
    one, two = candidate(api, namespace, "one", clock), candidate(api, namespace, "two", clock)
    assert await one._try()
    assert not await two._try()
    await one.release()
    assert not one.leads
    assert await two._try()
    assert two.epoch == 1


async def test_a_server_that_does_not_answer_keeps_no_daemon_from_ending(
    api: Api, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = candidate(api, namespace, "one", Clock())
    assert await one._try()
    monkeypatch.setattr("reconciler.engines.kubernetes.leader_election.RELEASE_WITHIN", 0.01)
    monkeypatch.setattr(one, "_read", asyncio.Event().wait)
    async with asyncio.timeout(PATIENCE):
        await one.release()
    assert not one.leads
    assert lease(namespace)["holderIdentity"] == "one", "it runs out"


async def test_a_leader_that_restarts_under_its_name_begins_a_new_epoch(
    api: Api, namespace: Namespace
) -> None:
    clock = Clock()
    one = candidate(api, namespace, "one", clock)
    assert await one._try()
    again = candidate(api, namespace, "one", clock)
    assert not await again._try(), "it cannot know that its former self has stopped"
    clock.now += DURATION + 1
    assert await again._try()
    assert again.epoch == 1


async def test_a_lease_of_another_daemon_is_never_taken(api: Api, namespace: Namespace) -> None:
    clock = Clock()
    one = candidate(api, namespace, "one", clock, "cluster a of https://git.test/one")
    two = candidate(api, namespace, "two", clock, "cluster a of https://git.test/two")
    await one.acquire()
    message = "is of the daemon of cluster a of https://git.test/one, .* kubernetes.instance"
    with pytest.raises(OtherOwnerError, match=message):
        await two.acquire()
    await one.release()
    with pytest.raises(OtherOwnerError, match=message):
        await two.acquire()
    assert lease(namespace)["holderIdentity"] == ""


async def test_a_lease_from_before_owners_were_told_is_taken(
    api: Api, namespace: Namespace
) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace.name}/leases"
    old = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "reconciler"},
        "spec": {"holderIdentity": "", "leaseDurationSeconds": DURATION},
    }
    namespace.cluster.api.create(path, old)
    await candidate(api, namespace, "one", Clock()).acquire()
    with pytest.raises(OtherOwnerError):
        await candidate(api, namespace, "two", Clock(), "another").acquire()


async def test_a_stopped_leader_renews_no_lease_that_was_another_s_meanwhile(
    api: Api, namespace: Namespace
) -> None:
    clock = Clock()
    one, two = (candidate(api, namespace, name, clock) for name in ("one", "two"))
    assert await one._try()
    assert not await two._try()
    clock.now += 2 * DURATION
    assert await two._try()
    await two.release()
    assert not await one._try(held=True), "it does not know what the other has done"
    assert not one.leads
    assert await one._try(), "it begins anew"
