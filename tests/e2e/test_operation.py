"""The daemon as its operators meet it: signals, a changed configuration, health, metrics."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.site import GOOD, Site, environment, git, stop, until
from tests.git.remotes import HttpRemote
from tests.patience import PATIENCE


@contextmanager
def running(site: Site) -> Iterator[str]:
    """The daemon, with its HTTP server on a free port; yields the server's address."""
    with site.running() as daemon:
        until(lambda: address(site), what="the server to listen")
        yield address(site)
        assert stop(daemon) == 0
        assert "Traceback" not in site.log()


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def address(site: Site) -> str:
    found = re.findall(r'"address": "([^"]+)", "event": "listening"', site.log())
    return f"http://{found[-1]}" if found else ""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        body: bytes = response.read()
        return body.decode()


def ready(url: str) -> bool:
    try:
        return get(f"{url}/readyz") == "ok\n"
    except urllib.error.HTTPError:
        return False


def test_health_readiness_and_metrics_are_served(site: Site) -> None:
    site.configure(server={"address": "127.0.0.1:0"})
    site.trained("a")
    site.push()
    with running(site) as url:
        assert get(f"{url}/healthz") == "ok\n"
        until(lambda: ready(url), what="the first sync")
        until(
            lambda: 'reconciler_objects{kind="Model",phase="Ready"} 1.0' in get(f"{url}/metrics"),
            what="the model to be counted as Ready",
        )
        metrics = get(f"{url}/metrics")
    assert 'reconciler_runs_created_total{task="train"} 1.0' in metrics
    assert "reconciler_plan_duration_seconds_bucket" in metrics
    key = site.statuses()["a"]["artifact"]["key"]
    assert key not in metrics, "labels hold nothing unbounded"


def test_a_comparison_says_what_the_code_of_any_repository_was_about(
    site: Site,
) -> None:
    site.configure(server={"address": "127.0.0.1:0"}, sources={"allow": ["file://*"]})
    (site.root / "code").mkdir()
    code = Site(site.root / "code")
    code.script("train.sh", f"{GOOD}# half the rate\n")
    code.push("Halve the <b>learning</b> rate")
    site.trained("own")
    site.write(
        "theirs.yaml",
        "kind: Model\nmetadata: {name: theirs}\nspec:\n"
        f"  source: {{git: {{url: 'file://{code.remote}'}}}}\n"
        f"  training: {{mode: Scratch, env: {site.env('theirs')}}}\n",
    )
    site.push("Begin with two")
    with running(site) as url:
        until(lambda: list(site.phases().values()) == ["Ready"] * 2, what="both models")
        until(lambda: "Begin with two" in get(f"{url}/compare"), what="the page of them")
        page = get(f"{url}/compare")
    assert "Halve the &lt;b&gt;learning&lt;/b&gt; rate" in page
    said = site.call("compare", "theirs", "--format", "csv", cwd=site.root)
    assert "Halve the <b>learning</b> rate" in said.stdout, said.stderr


def test_a_push_to_a_repository_on_this_disk_is_noticed_without_a_poll(site: Site) -> None:
    site.configure(
        server={"address": "127.0.0.1:0"}, repository={"url": "./manifests.git", "interval": "1h"}
    )
    site.trained("a")
    site.push()
    with running(site):
        until(lambda: site.phases().get("a") == "Ready", what="the first model")
        site.trained("b")
        site.push()
        until(lambda: site.phases().get("b") == "Ready", what="the pushed model")


def test_a_signed_webhook_makes_it_look_and_no_other_does(site: Site, cleanup: ExitStack) -> None:
    (site.root / "secret").write_text("a secret\n")
    git(site.remote, "config", "http.receivepack", "true")
    forge = HttpRemote(site.root)
    cleanup.callback(forge.close)
    site.configure(
        server={"address": "127.0.0.1:0", "webhookSecretFile": "secret"},
        repository={"url": forge.url("manifests.git"), "interval": "1h"},
        sources={"allow": ["http://*"]},
    )
    site.script("src/a/train.sh", GOOD)
    site.push()
    with running(site) as url:
        until(lambda: ready(url), what="the first sync")
        site.scratch("a")
        site.push()
        body = b'{"ref": "refs/heads/main"}'
        assert post(f"{url}/webhook", body, "forged") == 403
        assert post(f"{url}/webhook", body, "a secret") == 202
        until(lambda: site.phases().get("a") == "Ready", what="the push to be noticed")
        metrics = get(f"{url}/metrics")
    assert 'reconciler_webhooks_total{result="accepted"} 1.0' in metrics
    assert 'reconciler_webhooks_total{result="refused"} 1.0' in metrics


def post(url: str, body: bytes, secret: str) -> int:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    request = urllib.request.Request(url, body, {"X-Signature-256": f"sha256={signature}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_changed_configuration_is_taken_up_and_a_wrong_one_is_not(site: Site) -> None:
    site.configure(server={"address": "127.0.0.1:0"})
    site.trained("a")
    site.push()
    with running(site) as first:
        until(lambda: ready(first), what="the first sync")
        (site.root / "reconciler.yaml").write_text("repositroy: {}\n")
        until(lambda: 'did you mean \\"repository\\"' in site.log(), what="the complaint")
        assert get(f"{first}/healthz") == "ok\n"
        site.configure(server={"address": "127.0.0.1:0"}, status={"author": {"name": "Renamed"}})
        until(lambda: address(site) != first, what="the new server")
        until(lambda: ready(address(site)), what="a sync with the new configuration")
        site.scratch("a", params={"epochs": 2})
        site.push()
        until(lambda: "Renamed" in author(site), what="a commit by the new author")


def test_a_changed_configuration_that_cannot_be_used_leaves_the_old_one(site: Site) -> None:
    site.configure(server={"address": "127.0.0.1:0"})
    site.push()
    with running(site) as first, socket.create_server(("127.0.0.1", 0)) as taken:
        until(lambda: ready(first), what="the first sync")
        site.configure(server={"address": f"127.0.0.1:{taken.getsockname()[1]}"})
        until(lambda: "cannot be used; the old one stays" in site.log(), what="the complaint")
        until(lambda: address(site) != first, what="the server")
        second = address(site)
        until(lambda: ready(second), what="a sync with the old configuration")
        site.configure(server={"address": "localhost:0"})
        until(lambda: address(site) != second, what="the server of a third one")


def author(site: Site) -> str:
    from tests.e2e.site import BRANCH, git

    return git(site.remote, "log", "-1", "--format=%an", BRANCH)


def test_logs_are_json_with_object_task_and_commit(site: Site) -> None:
    site.trained("a")
    site.configure(log={"format": "json"})
    commit = site.push()
    lines = [json.loads(line) for line in site.run_once().stderr.splitlines()]
    heads = [line for line in lines if line["event"] == "new head"]
    assert heads[0]["commit"] == commit[:12]
    created = [line for line in lines if line["event"] == "run created"]
    assert {line["task"] for line in created} == {"build", "train"}
    assert created[-1]["object"] == "Model default/a"


def test_logs_of_run_once_are_text_for_a_user_also_in_a_pipe(site: Site) -> None:
    site.configure(log={"format": "text"})
    site.trained("a")
    site.push()
    lines = site.run_once().stderr.splitlines()
    assert any(
        re.match(r"\d\d:\d\d:\d\d \[info +\] run created .*Model default/a", s) for s in lines
    )
    assert not any(line.startswith("{") for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="it has a disk that is always full")
def test_a_log_that_cannot_be_written_ends_nothing(site: Site) -> None:
    site.trained("a")
    site.push()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            site.command("run", "--once"), stderr=full, check=False, env=environment()
        )
    assert done.returncode == 0
    assert site.phases() == {"a": "Ready"}


def test_an_address_in_use_is_one_clear_line(site: Site) -> None:
    import socket

    site.push()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site.configure(server={"address": f"127.0.0.1:{taken.getsockname()[1]}"})
        with site.running() as daemon:
            assert daemon.wait(PATIENCE) == 1
    assert "set server.address" in site.log().splitlines()[-1]


def test_the_remote_gone_for_a_while_changes_nothing(site: Site) -> None:
    site.configure(server={"address": "127.0.0.1:0"})
    site.trained("a")
    site.push()
    with running(site):
        until(lambda: site.phases().get("a") == "Ready", what="the model")
        away = site.root / "away.git"
        site.remote.rename(away)
        until(lambda: "cannot be fetched" in site.log(), what="a failed fetch")
        away.rename(site.remote)
        site.scratch("a", params={"epochs": 2})
        site.push()
        until(lambda: site.ran().get("a", 0) >= 1, what="the model to be trained")
        until(lambda: site.phases().get("a") == "Ready", what="the new status")
