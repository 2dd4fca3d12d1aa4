"""What Kueue's conditions of a Workload say, and which pods of a Job count after it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.engines.kubernetes.api_types import Job, JobStatus, ObjectCondition, ObjectMeta, Pod
from reconciler.engines.kubernetes.queues import (
    LAST_SHOWN,
    KueueWorkload,
    KueueWorkloadStatus,
    explain,
    queued,
    since_admission,
)
from reconciler.reasons import ReasonCode, message

PREEMPTED = ObjectCondition("Evicted", "True", "Preempted", "Preempted to accommodate a workload")
FULL = ObjectCondition("QuotaReserved", "False", "Pending", "insufficient unused quota")


def workload(*conditions: ObjectCondition) -> KueueWorkload:
    return KueueWorkload(ObjectMeta(name="w"), KueueWorkloadStatus(list(conditions)))


@pytest.mark.parametrize(
    ("conditions", "position", "text"),
    [
        ((), None, "queued in gpus: Kueue has not admitted it yet"),
        ((FULL,), 2, "queued in gpus, at position 2: insufficient unused quota"),
        ((FULL,), LAST_SHOWN + 1, "queued in gpus: insufficient unused quota"),
        (
            (ObjectCondition("QuotaReserved", "True"),),
            None,
            "queued in gpus: its quota is reserved, and its admission checks are not done",
        ),
        (
            (ObjectCondition("QuotaReserved", "True"), ObjectCondition("Admitted", "True")),
            1,
            "queued in gpus: Kueue has admitted it; it is starting",
        ),
        (
            (PREEMPTED, ObjectCondition("Admitted", "True")),
            None,
            "queued again in gpus: Preempted to accommodate a workload",
        ),
        (
            (PREEMPTED, FULL),
            1,
            (
                "queued again in gpus, at position 1: Preempted to accommodate a workload; "
                "insufficient unused quota"
            ),
        ),
        (
            (PREEMPTED, ObjectCondition("QuotaReserved", "False", "Pending", PREEMPTED.message)),
            None,
            "queued again in gpus: Preempted to accommodate a workload",
        ),
    ],
)
def test_a_workload_says_why_it_waits(
    conditions: tuple[ObjectCondition, ...], position: int | None, text: str
) -> None:
    assert message(explain(workload(*conditions), "gpus", position)) == text


def test_a_job_that_somebody_suspended_is_in_no_queue() -> None:
    assert queued(Job(ObjectMeta(name="j"))).code is ReasonCode.JOB_SUSPENDED


def test_pods_of_before_the_last_admission_do_not_count() -> None:
    def pod(second: int) -> Pod:
        made = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
        return Pod(ObjectMeta(name=f"p{second}", creation_timestamp=made))

    pods = [pod(1), pod(10)]
    at = datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)
    for status, counted in (("False", pods[1:]), ("True", pods)):
        condition = ObjectCondition("Suspended", status, last_transition_time=at)
        job = Job(ObjectMeta(name="j"), status=JobStatus(conditions=[condition]))
        assert list(since_admission(job, pods)) == counted
