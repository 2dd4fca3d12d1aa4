"""The wrapper of several nodes: one artifact, whose marker waits for every rank."""

from __future__ import annotations

import signal

import pytest

from reconciler.engines.kubernetes.wrapper import TERMINATED_EXIT
from reconciler.engines.local.marker import read_marker
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import BUSYBOX, KEY, Container


def rank(pod: MakeContainer, number: int, run: str = "uid-1", *, staged: bool = False) -> Container:
    env = {"JOB_COMPLETION_INDEX": str(number), "RECONCILER_RUN": run}
    return pod(env=env, staged=staged, nodes=2)


@pytest.mark.parametrize("staged", [False, True])
def test_the_marker_waits_for_every_rank(pod: MakeContainer, staged: bool) -> None:
    first, second = rank(pod, 0, staged=staged), rank(pod, 1, staged=staged)
    gate = second.gate("gate")
    ran = first.gate("ran")
    with (
        second.shell(f"cat {gate}; echo rank 1 of $ATTEMPT") as other,
        first.shell(f"echo 0 >$MODEL_DIR/w; echo >{ran}") as zero,
    ):
        ran.read_bytes()
        assert read_marker(first.bucket, KEY) is None
        gate.write_text("")
        assert (other.wait().code, zero.wait().code) == (0, 0)
    assert read_marker(first.bucket, KEY) is not None
    logs = first.bucket / "logs"
    assert (logs / "attempt-1.rank-1.log").read_text() == "rank 1 of 1\n"
    assert (logs / "attempt-1.log").read_text() == ""


def test_ranks_of_an_earlier_attempt_do_not_count(pod: MakeContainer) -> None:
    old = rank(pod, 0)
    old.bucket.mkdir(parents=True)
    (old.bucket / ".reconciler-ranks-uid-0-1").write_text("done\n")
    (old.bucket / ".reconciler-ranks-uid-0-attempt").write_text("7\n")
    (old.bucket / "logs").mkdir()
    (old.bucket / "logs/attempt-7.log").touch()
    other = rank(pod, 1)
    with old.started([BUSYBOX, "true"]) as zero:
        assert other.sh("echo $ATTEMPT").output == b"8\n"
        assert zero.wait().termination.attempt == 8


def test_a_rank_that_waits_for_others_ends_at_sigterm(pod: MakeContainer) -> None:
    first = rank(pod, 0)
    ran = first.gate("ran")
    with first.shell(f"echo >{ran}") as zero:
        ran.read_bytes()
        zero.signal(signal.SIGTERM)
        assert zero.wait().code in (0, TERMINATED_EXIT)
    assert read_marker(first.bucket, KEY) is None


def test_gpu_seconds_count_every_node(pod: MakeContainer) -> None:
    first, second = rank(pod, 0), rank(pod, 1)
    first.steer["gpus"] = 2
    with first.started([BUSYBOX, "sleep", "0.1"]) as zero:
        second.sh(":")
        said = zero.wait().termination
    assert said.gpu_seconds == pytest.approx((said.seconds or 0) * 4)


def test_what_rank_0_removes_while_another_rank_makes_its_files_safe_is_no_loss(
    pod: MakeContainer,
) -> None:
    first, second = rank(pod, 0), rank(pod, 1)
    gone = first.place / "gone"
    churn = (
        'cd "$MODEL_DIR"; echo 1 >w;'
        f" until [ -e .reconciler-ranks-uid-1-1 ] || [ -e {gone} ]; do"
        " mkdir d; for n in 1 2 3 4 5 6 7 8 9; do : >d/$n; : >t$n; done; rm -r d t?; done"
    )
    with first.shell(churn) as zero:
        ended = second.sh(":")
        gone.touch()
        assert ended.code == 0, ended
        assert zero.wait().code == 0
    assert read_marker(first.bucket, KEY) is not None
