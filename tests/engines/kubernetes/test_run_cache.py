"""A run is worked out again when its Job or a Pod of it is another object, and only then."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from reconciler.engine import Run, RunPhase
from reconciler.engines.kubernetes.api_types import Job
from reconciler.engines.kubernetes.observer import RunCache, observe_run
from reconciler.reasons import Reason, ReasonCode
from tests.engines.kubernetes.orders import running, terminated
from tests.engines.kubernetes.test_observer import job, pod


def named(found: Job, uid: str) -> Job:
    return msgspec.structs.replace(found, metadata=msgspec.structs.replace(found.metadata, uid=uid))


def test_what_has_not_changed_is_the_very_same_run() -> None:
    cache, of, its = RunCache(), named(job(), "u1"), pod(running())
    first = cache.get(of, [its], deleting=False, disrupted=None)
    assert first is not None
    assert first == observe_run(of, [its])
    assert cache.get(of, [its], deleting=False, disrupted=None) is first
    other = cache.get(named(job(), "u2"), [], deleting=False, disrupted=None)
    assert other is not None
    assert other.phase is RunPhase.PENDING
    assert cache.get(of, [its], deleting=False, disrupted=None) is first


def test_whatever_a_run_is_made_of_makes_it_another() -> None:
    cache, of, its = RunCache(), named(job(), "u1"), pod(running())

    def seen(*pods: object, job: Job = of, deleting: bool = False) -> Run | None:
        return cache.get(job, pods, deleting=deleting, disrupted=None)  # type: ignore[arg-type]

    first = seen(its)
    assert first is not None
    assert seen(its, deleting=True) == replace(first, deleting=True)
    assert seen() == observe_run(of, [])
    assert seen(its, pod(terminated(3))) == observe_run(of, [its, pod(terminated(3))])
    ended = named(job(conditions=[{"type": "Failed", "status": "True"}]), "u1")
    assert seen(pod(terminated(3)), job=ended) == observe_run(ended, [pod(terminated(3))])


def test_the_disruption_of_a_pod_that_is_gone_is_part_of_its_run() -> None:
    cache = RunCache()
    ended = named(job(conditions=[{"type": "Failed", "status": "True"}]), "u1")
    evicted = Reason.of(ReasonCode.DISRUPTED, where="", detail="evicting")
    blamed = cache.get(ended, [], deleting=False, disrupted=None)
    known = cache.get(ended, [], deleting=False, disrupted=evicted)
    assert blamed is not None
    assert known == observe_run(ended, [], disrupted=evicted) != blamed
