"""What a Job and its Pods say while one of the two watches is ahead of the other."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace as replace_fields

from reconciler.engine import FailureClass, Result, ResultWarning, RunPhase
from reconciler.engines.kubernetes.api_types import Job, Pod
from reconciler.engines.kubernetes.diagnostics import JOB_INDEX
from reconciler.engines.kubernetes.observer import _image, identify, observe_orphan, observe_run
from reconciler.types import TaskKind
from tests.engines.kubernetes.orders import bare_job, order, running, terminated, why


def job(**status: Any) -> Job:
    (rendered,) = bare_job(order("models"))
    return msgspec.json.decode(json.dumps({**rendered, "status": status}), type=Job)


def pod(status: Any, **labels: str) -> Pod:
    (rendered,) = bare_job(order("models"))
    metadata: Any = rendered["metadata"]
    told = {"metadata": {**metadata, "labels": metadata["labels"] | labels}, "status": status}
    return msgspec.json.decode(json.dumps(told), type=Pod)


def test_a_pod_of_before_the_last_admission_tells_no_start() -> None:
    taken, again = (datetime(2026, 1, 1, 0, minute, tzinfo=UTC) for minute in (1, 10))

    def made(at: datetime) -> Pod:
        time = at.isoformat()
        state = {"running": {"startedAt": time}}
        main = {"name": "main", "restartCount": 0, "state": state}
        told = pod({"phase": "Running", "startTime": time, "containerStatuses": [main]})
        return replace_fields(told, metadata=replace_fields(told.metadata, creation_timestamp=at))

    condition = {"type": "Suspended", "status": "False", "lastTransitionTime": again.isoformat()}
    run = observe_run(job(conditions=[condition]), [made(taken), made(again)])
    assert run is not None
    assert (run.placed, run.started) == (again, again)


@pytest.mark.parametrize("condition", ["Failed", "Complete"])
def test_a_job_that_has_ended_waits_for_the_end_of_its_pod_to_be_seen(condition: str) -> None:
    ended = job(conditions=[{"type": condition, "status": "True"}])
    late = observe_run(ended, [pod(running())])
    assert late is not None
    assert late.phase is RunPhase.RUNNING
    later = observe_run(ended, [pod(terminated(3 if condition == "Failed" else 0))])
    assert later is not None
    assert not later.live
    assert later.failure is (FailureClass.COMMAND if condition == "Failed" else None)


def test_the_metrics_of_a_training_whose_pod_is_gone_are_not_none() -> None:
    done = observe_run(job(conditions=[{"type": "Complete", "status": "True"}]), [])
    assert done is not None
    assert done.phase is RunPhase.SUCCEEDED
    assert done.result is None, "the next run finds the marker, and tells them"


def test_a_job_that_has_ended_is_live_also_before_its_pod_is_seen_to_have_started() -> None:
    late = observe_run(
        job(conditions=[{"type": "Failed", "status": "True"}]), [pod({"phase": "Pending"})]
    )
    assert late is not None
    assert late.phase is RunPhase.PENDING


def ended(status: Any) -> tuple[FailureClass | None, str]:
    """Whose fault a run with this one pod is, and why."""
    run = observe_run(job(conditions=[{"type": "Failed", "status": "True"}]), [pod(status)])
    assert run is not None
    assert run.phase is RunPhase.FAILED
    return run.failure, why(run)


@pytest.mark.parametrize(
    ("told", "fault"),
    [("command", FailureClass.COMMAND), ("infrastructure", FailureClass.INFRASTRUCTURE)],
)
def test_a_source_that_could_not_be_fetched_says_whose_fault_it_is(
    told: str, fault: FailureClass
) -> None:
    message = json.dumps({"v": 1, "state": "failed", "class": told, "message": "no such thing"})
    state = {"terminated": {"exitCode": 210, "reason": "Error", "message": message}}
    source = {"name": "source", "restartCount": 0, "state": state}
    assert ended({"phase": "Failed", "initContainerStatuses": [source]}) == (fault, "no such thing")


def test_a_sidecar_that_ends_after_the_command_is_not_to_blame_for_its_failure() -> None:
    state = {"terminated": {"exitCode": 143, "reason": "Error"}}
    sidecar = {"name": "mesh-proxy", "restartCount": 0, "state": state}
    failed = {**terminated(3, message="no such layer"), "initContainerStatuses": [sidecar]}
    assert ended(failed) == (FailureClass.COMMAND, "it ended with exit code 3: no such layer")
    before = {"phase": "Failed", "initContainerStatuses": [sidecar]}
    kind, reason = ended(before)
    assert kind is FailureClass.INFRASTRUCTURE
    assert "mesh-proxy" in reason


@pytest.mark.parametrize("code", [137, 143])
def test_a_container_that_was_ended_before_it_could_say_why_is_not_the_command_s_fault(
    code: int,
) -> None:
    kind, reason = ended(terminated(code))
    assert kind is FailureClass.INFRASTRUCTURE
    assert f"exit code {code}" in reason
    assert ended(terminated(code, reason="OOMKilled"))[0] is FailureClass.COMMAND


def test_a_rank_whose_timeout_passes_while_it_waits_for_the_first_has_not_failed() -> None:
    said = {"v": 1, "state": "failed", "attempt": 0, "class": "infrastructure"}
    waited = json.dumps({**said, "message": "ended before the command started"})
    late = {"reason": "DeadlineExceeded"}
    kind, reason = ended({**terminated(143, message=waited), **late})
    assert kind is FailureClass.INFRASTRUCTURE
    assert reason == "its timeout passed: ended before the command started"
    ran = json.dumps({**said, "attempt": 1, "exitCode": 143, "message": "stopped"})
    assert ended({**terminated(143, message=ran), **late})[0] is FailureClass.COMMAND


def test_the_ranks_of_a_training_are_one_attempt() -> None:
    ranks = [pod(running(), **{JOB_INDEX: str(rank)}) for rank in range(4)]
    going = observe_run(job(active=4), ranks)
    assert going is not None
    assert (going.phase, going.attempts) == (RunPhase.RUNNING, 1)
    ending = observe_orphan(ranks, going.name)
    assert ending is not None
    assert ending.attempts == 1


WARNING = {"reason": "MetricsIgnored", "message": "why"}
OTHERS = [{"reason": "CommandFailed", "message": "no warning"}, {"reason": "GitLfsPointers"}, 3]


def test_an_artifacts_numbers_and_warnings_are_the_wrappers() -> None:
    said = {"v": 1, "state": "complete", "metrics": {"steps": 44650, "loss": 0.5, "big": 10**20}}
    said |= {"warnings": [WARNING, *OTHERS]}
    done = job(conditions=[{"type": "Complete", "status": "True"}])
    run = observe_run(done, [pod(terminated(0, message=json.dumps(said)))])
    assert run is not None
    assert run.result is not None
    assert run.result.metrics == {"steps": 44650, "loss": 0.5, "big": 1e20}
    assert [type(number) for number in run.result.metrics.values()] == [int, float, float]
    assert run.result.warnings == (ResultWarning("MetricsIgnored", "why"),)


def test_an_image_has_the_warnings_of_its_source() -> None:
    image = f"registry.test/team:{'1' * 40}"
    owner = identify(pod(terminated(0)).metadata, "r-build")
    assert owner is not None
    digest = f"registry.test/team@sha256:{'2' * 64}"
    said = {"v": 1, "state": "complete", "image": digest, "warnings": [WARNING]}
    built = pod(terminated(0, message=json.dumps(said)))
    found = _image(replace(owner, task=TaskKind.BUILD, output=image), built)
    assert found == Result(image=digest, warnings=(ResultWarning("MetricsIgnored", "why"),))


def test_a_build_whose_message_is_nested_without_an_end_has_pushed_nothing() -> None:
    owner = identify(pod(terminated(0)).metadata, "r-build")
    assert owner is not None
    built = pod(terminated(0, message=f'{{"more": {"[" * 4000}'))
    assert _image(replace(owner, task=TaskKind.BUILD, output="registry.test/team:1"), built) is None
