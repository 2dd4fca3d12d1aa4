"""The barrier: nothing counts as written before rclone says that it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import HTTPServer

import pytest

from reconciler.engine import FailureClass
from reconciler.engines.kubernetes.wrapper import INFRASTRUCTURE_EXIT
from tests.engines.kubernetes.conftest import MakeContainer
from tests.servers import Handler, Serving

Answer = dict[str, object]
#: How often rclone is asked before the command starts: the attempt's number has to arrive.
START = 3
QUIET: Answer = {
    "erroredFiles": 0, "outOfSpace": False, "uploadsInProgress": 0, "uploadsQueued": 0,
}  # fmt: skip


class Rclone(Serving):
    """An rclone's remote control, with the answers that a test wants."""

    def __init__(self) -> None:
        self.answer: Callable[[int], Answer | None] = lambda _: QUIET
        self.asked = 0
        control = self

        class Asked(Handler):
            def do_POST(self) -> None:  # noqa: N802 -- as it must be called
                assert self.path == "/vfs/stats"
                control.asked += 1
                answer = control.answer(control.asked)
                body = json.dumps({"diskCache": answer, "inUse": 1}, indent="\t").encode()
                self.answer(200 if answer is not None else 500, body=body)

        self.serve(HTTPServer(("127.0.0.1", 0), Asked))
        self.address = f"127.0.0.1:{self.port}"


@pytest.fixture
def rclone() -> Iterator[Rclone]:
    with closing(Rclone()) as control:
        yield control


def test_the_marker_is_written_only_once_nothing_is_queued(
    pod: MakeContainer, rclone: Rclone
) -> None:
    container = pod(staged=True, rclone=rclone.address)
    early: list[bool] = []

    def answer(number: int) -> Answer:
        if number <= START:
            return QUIET
        if number < 15:
            early.append((container.bucket / "completed.json").exists())
        # Quiet for one look, as between close() and the queue, then busy.
        return {**QUIET, "uploadsQueued": 0 if number % 4 == 0 or number > 15 else 2}

    rclone.answer = answer
    assert container.sh("echo 1 >$MODEL_DIR/w").code == 0
    assert rclone.asked > 15
    assert not any(early)
    assert (container.bucket / "completed.json").exists()


def test_uploads_are_awaited_after_the_files_their_list_and_the_marker_alone(
    pod: MakeContainer, rclone: Rclone
) -> None:
    """A GPU waits for each look at the queue: there is none where nothing was written."""
    container = pod(staged=True, rclone=rclone.address)
    assert container.sh("echo 1 >$MODEL_DIR/w").code == 0
    assert rclone.asked == START + 10 + 3 + 3


def test_a_marker_goes_again_if_an_upload_fails_after_it(
    pod: MakeContainer, rclone: Rclone
) -> None:
    container = pod(staged=True, rclone=rclone.address)
    marker = container.bucket / "completed.json"
    rclone.answer = lambda _: {**QUIET, "erroredFiles": int(marker.exists())}
    assert container.sh("echo 1 >$MODEL_DIR/w").code == INFRASTRUCTURE_EXIT
    assert not marker.exists()


@pytest.mark.parametrize("broken", [{"erroredFiles": 1}, {"outOfSpace": True}])
def test_an_upload_that_failed_makes_no_marker(
    pod: MakeContainer, rclone: Rclone, broken: Answer
) -> None:
    container = pod(staged=True, rclone=rclone.address)
    rclone.answer = lambda number: QUIET if number <= START else {**QUIET, **broken}
    ended = container.sh("echo 1 >$MODEL_DIR/w")
    assert (ended.code, ended.termination.failure) == (
        INFRASTRUCTURE_EXIT, FailureClass.INFRASTRUCTURE,
    )  # fmt: skip
    assert not (container.bucket / "completed.json").exists()


def test_an_upload_that_never_ends_makes_no_marker(pod: MakeContainer, rclone: Rclone) -> None:
    container = pod(staged=True, rclone=rclone.address, env={"RECONCILER_BARRIER": "3"})
    rclone.answer = lambda number: {**QUIET, "uploadsInProgress": int(number > START)}
    ended = container.sh("echo 1 >$MODEL_DIR/w")
    assert (ended.code, ended.termination.exit_code) == (INFRASTRUCTURE_EXIT, 0), "it has run"
    assert not (container.bucket / "completed.json").exists()


def test_no_command_is_started_on_a_store_that_takes_nothing(
    pod: MakeContainer, rclone: Rclone
) -> None:
    container = pod(staged=True, rclone=rclone.address, env={"RECONCILER_BARRIER": "0"})
    rclone.answer = lambda _: {**QUIET, "uploadsQueued": 1}
    ended = container.sh(f"touch {container.place}/started")
    assert (ended.code, ended.termination.failure) == (
        INFRASTRUCTURE_EXIT, FailureClass.INFRASTRUCTURE,
    )  # fmt: skip
    assert "the command is not started" in ended.termination.message
    assert not (container.place / "started").exists()


def test_the_commands_proxy_is_not_asked_for_the_sidecar(
    pod: MakeContainer, rclone: Rclone
) -> None:
    proxies = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    container = pod(staged=True, rclone=rclone.address, env=proxies)
    ended = container.sh('echo "$http_proxy"')
    assert (ended.code, ended.output) == (0, b"http://127.0.0.1:1\n")


def test_a_sidecar_that_is_gone_makes_no_marker(pod: MakeContainer) -> None:
    container = pod(staged=True, rclone="127.0.0.1:1")
    ended = container.sh("echo 1 >$MODEL_DIR/w")
    assert ended.code == INFRASTRUCTURE_EXIT
    assert "rclone does not answer" in ended.output.decode()
    assert not (container.bucket / "completed.json").exists()


def test_a_mount_without_a_write_cache_cannot_be_asked(pod: MakeContainer, rclone: Rclone) -> None:
    container = pod(staged=True, rclone=rclone.address)
    rclone.answer = lambda _: {}
    assert container.sh("echo 1 >$MODEL_DIR/w").code == INFRASTRUCTURE_EXIT
