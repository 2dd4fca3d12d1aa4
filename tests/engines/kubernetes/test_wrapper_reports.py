"""The wrapper reports PROGRESS_FILE to the daemon, and keeps the curves beside the log."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.engine import ReportServer, read_curves, report_token
from reconciler.engines.kubernetes import ReportedProgress
from reconciler.engines.kubernetes.termination import TerminationState
from reconciler.metrics import Metrics
from reconciler.reasons import ReasonCode
from reconciler.web import Reports, Served, serve
from tests.cluster.certificates import Authority, Pair
from tests.cluster.ports import free
from tests.e2e.site import until
from tests.engines.kubernetes.conftest import MakeContainer
from tests.engines.kubernetes.container import Container
from tests.patience import PATIENCE, longer
from tests.reverse_proxy import ReverseProxy

KEY = b"a key of this test alone"
RUN = "r-m-t-0123456789ab-012345"
WRITE = 'echo "{\\"step\\": $n, \\"metrics\\": {\\"n\\": $n}}" >"$PROGRESS_FILE.new"'
REPORT = f'{WRITE}; mv "$PROGRESS_FILE.new" "$PROGRESS_FILE"'


@contextmanager
def daemon(store: ReportedProgress, at: str = "127.0.0.1:0") -> Iterator[str]:
    """The daemon's server, in a thread of its own."""
    loop, end = asyncio.new_event_loop(), asyncio.Event()
    urls: list[str] = []
    bound = threading.Event()

    async def work() -> None:
        found = Served(
            metrics=Metrics(),
            ready=lambda: True,
            pushed=lambda: None,
            branches=("main",),
            reports=Reports(store=store, key=lambda: KEY),
        )
        async with serve(at, found) as address:
            urls.append(f"http://{address}/progress/{RUN}")
            bound.set()
            await end.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(work()))
    thread.start()
    try:
        assert bound.wait(PATIENCE)
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


def container_of(
    pod: MakeContainer,
    folder: Path,
    url: str,
    *,
    ca: Path | None = None,
    path: str = "",
    **steer: object,
) -> Container:
    token = folder / "token"
    token.write_text(report_token(KEY, RUN))
    reports = ReportServer(url=url, token=str(token), ca=str(ca) if ca is not None else None)
    env = {"RECONCILER_WATCH": "0.1", "RECONCILER_CURVES": "0"}
    # A command's proxy is not the way to the daemon.
    env |= dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    env |= {"PATH": path} if path else {}
    container = pod(reports=reports, env=env, **steer)
    container.env["PROGRESS_FILE"] = str(container.home / "progress/progress.json")
    return container


def test_the_file_is_reported_and_the_curves_are_kept(pod: MakeContainer, tmp_path: Path) -> None:
    store = ReportedProgress({RUN: 1}.get)
    with daemon(store) as url:
        container = container_of(pod, tmp_path, url)
        ended = container.sh(f"for n in 1 2 3; do {REPORT}; sleep 1; done")
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended
    found = store.latest(RUN)
    assert found is not None
    assert (found.step, found.metrics) == (3, {"n": 3})
    with (container.bucket / "logs" / "progress-1.jsonl").open("rb") as file:
        curves = read_curves(file)
    assert curves is not None
    assert curves.metrics["n"][-1].value == 3
    assert not [f.path for f in container.marker().files if f.path.startswith("logs")]


def values(file: Path) -> list[float]:
    """The values of the metric that was kept; none without a file."""
    if not file.exists():
        return []
    curves = read_curves(file.read_bytes().splitlines(keepends=True))
    return [point.value for point in curves.metrics.get("n", ())] if curves is not None else []


def latest(store: ReportedProgress) -> Any:
    """The metrics that the run has reported last."""
    progress = store.latest(RUN)
    return progress.metrics if progress is not None else None


@pytest.mark.parametrize("staged", [False, True])
def test_a_pod_that_is_killed_has_left_its_curves(
    pod: MakeContainer, tmp_path: Path, staged: bool
) -> None:
    file = tmp_path / "bucket/key/logs/progress-1.jsonl"
    with daemon(ReportedProgress({RUN: 1}.get)) as url:
        container = container_of(pod, tmp_path, url, staged=staged)
        with container.shell(f"n=7; {REPORT}; exec sleep 1000") as running:
            until(lambda: values(file) == [7], what="the curves")
            running.signal(signal.SIGKILL)
            running.process.wait(PATIENCE)
    assert values(file) == [7]
    assert not (container.bucket / "completed.json").exists()


def test_a_daemon_that_is_started_anew_goes_on_with_the_curves(
    pod: MakeContainer, tmp_path: Path
) -> None:
    file = tmp_path / "bucket/key/logs/progress-1.jsonl"
    port = free(1)[0]
    address = f"127.0.0.1:{port}"
    gate, end = tmp_path / "gate", tmp_path / "end"
    container = container_of(pod, tmp_path, f"http://{address}/progress/{RUN}")
    waits = [f"until [ -e {each} ]; do sleep 0.1; done" for each in (gate, end)]
    # An attempt's age is told in whole seconds; what is no later than what was kept is that.
    script = f"n=1; {REPORT}; {waits[0]}; sleep 2; n=2; {REPORT}; {waits[1]}"
    with container.shell(script) as running:
        with daemon(ReportedProgress({RUN: 1}.get), address):
            until(lambda: values(file) == [1], what="the curves of the first daemon")
        gate.touch()
        second = ReportedProgress({RUN: 1}.get)
        with daemon(second, address):
            until(lambda: latest(second) == {"n": 2}, what="a report to the second daemon")
            end.touch()
            ended = running.wait()
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended
    assert values(file) == [1, 2]


def test_a_daemon_that_is_not_there_is_no_error(pod: MakeContainer, tmp_path: Path) -> None:
    container = container_of(pod, tmp_path, f"http://127.0.0.1:9/progress/{RUN}")
    ended = container.sh(f"n=1; {REPORT}; sleep 0.5")
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended
    assert not (container.bucket / "logs" / "progress-1.jsonl").exists()


@contextmanager
def behind_tls(url: str, certificate: Pair) -> Iterator[tuple[str, ReverseProxy]]:
    """A proxy with a certificate in front of the daemon, and the URL of the run there."""
    address, _, path = url.removeprefix("http://").partition("/")
    proxy = ReverseProxy(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    # The handshake is of the request's thread: one that fails ends no other.
    proxy.server.socket = context.wrap_socket(
        proxy.server.socket, server_side=True, do_handshake_on_connect=False
    )
    proxy.server.handle_error = lambda *_: None  # type: ignore[method-assign]
    try:
        yield f"https://127.0.0.1:{proxy.port}/{path}", proxy
    finally:
        proxy.close()


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_the_token_goes_only_to_a_server_whose_certificate_is_right(
    pod: MakeContainer, tmp_path: Path, right: bool
) -> None:
    images = tmp_path / "bin"
    images.mkdir()
    (images / "python3").symlink_to(Path(sys.base_prefix, "bin/python3"))
    known, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    served = (known if right else other).issue("server", "server", hosts=("127.0.0.1",))
    store = ReportedProgress({RUN: 1}.get)
    with daemon(store) as plain, behind_tls(plain, served) as (url, proxy):
        ca, path = known.ca.certificate, str(images)
        container = container_of(pod, tmp_path, url, ca=ca, path=path)
        ended = container.sh(f"n=7; {REPORT}; sleep 2")
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended
    kept = values(container.bucket / "logs" / "progress-1.jsonl")
    assert (kept, bool(proxy.calls)) == (([7], True) if right else ([], False))


def test_an_image_that_cannot_check_a_certificate_reports_nothing(
    pod: MakeContainer, tmp_path: Path
) -> None:
    store = ReportedProgress({RUN: 1}.get)
    known = Authority(tmp_path / "ca")
    served = known.issue("server", "server", hosts=("127.0.0.1",))
    with daemon(store) as plain, behind_tls(plain, served) as (url, proxy):
        container = container_of(pod, tmp_path, url, ca=known.ca.certificate)
        ended = container.sh(f"n=7; {REPORT}; sleep 1")
    assert ended.code == 0
    assert proxy.calls == []
    assert b"no progress is reported: https takes python3 in the image" in ended.output


def test_a_report_to_the_daemon_is_a_sign_of_life(pod: MakeContainer, tmp_path: Path) -> None:
    store = ReportedProgress({RUN: 1}.get)
    with daemon(store) as url:
        for stall in map(int, longer(2)):
            container = container_of(pod, tmp_path, url, stall=stall)
            with container.shell(f"sleep {2 * stall}") as running:
                while running.process.poll() is None:
                    store.take(RUN, b'{"step": 1}')
                    with suppress(subprocess.TimeoutExpired):
                        running.process.wait(0.2)
                ended = running.wait()
            if ended.code == 0:
                break
    assert (ended.code, ended.termination.state) == (0, TerminationState.COMPLETE), ended


def test_a_silent_command_has_stalled_with_a_daemon_too(pod: MakeContainer, tmp_path: Path) -> None:
    with daemon(ReportedProgress({RUN: 1}.get)) as url:
        ended = container_of(pod, tmp_path, url, stall=1).sh("exec sleep 1000")
    assert ended.termination.reason is ReasonCode.STALLED
