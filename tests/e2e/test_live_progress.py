"""Percentage, remaining time and bar of a live run in `status` and `--watch`, on both engines."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.engine import report_token
from tests import processes
from tests.cluster.fixtures import Namespace
from tests.cluster.ports import free
from tests.e2e.cluster_site import ClusterSite, daemon
from tests.e2e.site import Site, until
from tests.engines.kubernetes.orders import running

_KEY = "a-key-of-the-tests"
_NEXT = """\
report() { echo "{\\"progressPercentage\\": $1, \\"estimatedRemainingSeconds\\": 7200}" \\
    >"$PROGRESS_FILE.new" && mv "$PROGRESS_FILE.new" "$PROGRESS_FILE"; }
report 40
until [ -e "$PARAM_GATE" ]; do sleep 0.1; done
report 80
until [ -e "$PARAM_GATE-end" ]; do sleep 0.1; done
"""


def _environment(site: Site) -> dict[str, str]:
    own = site.environment() if isinstance(site, ClusterSite) else {}
    return {**os.environ, **own, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}


def _status(site: Site) -> str:
    done = processes.run(site.command("status"), cwd=site.root, env=_environment(site))
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def _watched(site: Site) -> Iterator[list[str]]:
    """`status --watch` on a terminal; what it has drawn so far."""
    ours, theirs = pty.openpty()
    drawn: list[str] = []

    def read() -> None:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # nobody has the other end any more
                return
            drawn.append(data.decode(errors="replace"))

    with subprocess.Popen(
        site.command("status", "--watch"),
        cwd=site.root,
        env=_environment(site),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield drawn
        finally:
            process.terminate()
            process.wait()
            reader.join()
            os.close(ours)


def _check(site: Site, go_on: Path) -> None:
    """Look at 40 %, and at 80 % once the command goes on."""
    until(lambda: re.search(r"Training 40%, (2h|1h\d)", _status(site)), what="the phase")
    with _watched(site) as drawn:
        until(lambda: re.search("█{4}░{6}.*40%", "".join(drawn)), what="the bar of 40 %")
        go_on.touch()
        until(lambda: re.search("█{8}░{2}.*80%", "".join(drawn)), what="the bar of 80 %")


@pytest.mark.timeout(300)
def test_a_process_is_seen_to_get_on(site: Site, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    site.trained("a", _NEXT, params={"gate": str(gate)})
    site.push()
    with site.running():
        _check(site, gate)
        gate.with_name("gate-end").touch()
        until(lambda: site.phases()["a"] == "Ready", what="its end")


@pytest.mark.timeout(300)
def test_a_pod_is_seen_to_get_on(tmp_path: Path, namespace: Namespace) -> None:
    site = ClusterSite(tmp_path, namespace)
    address = f"127.0.0.1:{free(1)[0]}"
    (tmp_path / "key").write_text(_KEY)
    progress = {"url": f"http://{address}", "keyFile": str(tmp_path / "key")}
    site.configure(server={"address": address, "progress": progress})
    site.push_model("a")
    gate = tmp_path / "gate"

    def report() -> None:
        """Report as a pod does, until the end of the test."""
        run = job["metadata"]["name"]
        body = {
            "estimatedRemainingSeconds": 7200,
            "progressPercentage": 80 if gate.exists() else 40,
        }
        request = urllib.request.Request(
            f"http://{address}/progress/{run}",
            json.dumps({"trainerStatus": body}).encode(),
            {"Authorization": f"Bearer {report_token(_KEY.encode(), run)}"},
        )
        urllib.request.urlopen(request, timeout=30).close()

    with daemon(site):
        job = site.job("a")
        site.kubelet(job, running())
        until(lambda: site.phases().get("a") == "Training", what="it to train")
        report()
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(0.5):
                report()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            _check(site, gate)
        finally:
            ended.set()
            thread.join()
