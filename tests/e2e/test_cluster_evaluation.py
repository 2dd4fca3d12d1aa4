"""A test of its own source on a cluster: a Job that builds it, and one that runs in its image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import eventually
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import IMAGE, ClusterSite, daemon, uid
from tests.e2e.site import Site, until
from tests.engines.kubernetes.orders import terminated
from tests.git.remotes import HttpRemote
from tests.patience import PATIENCE


@pytest.fixture
def site(tmp_path: Path, namespace: Namespace) -> ClusterSite:
    site = ClusterSite(tmp_path, namespace)
    site.configure_more(sources={"allow": ["http://127.0.0.1:*/**"], "interval": "1s"})
    return site


@pytest.fixture
def code(site: ClusterSite) -> Iterator[tuple[Site, str]]:
    """The repository of a test, and its URL; a build's pod cannot read the daemon's disk."""
    (site.root / "test").mkdir()
    with closing(HttpRemote(site.root / "test")) as remote:
        yield Site(site.root / "test"), remote.url("manifests.git")


def jobs_of(site: ClusterSite, task: str) -> list[Any]:
    found = site.namespace.cluster.api.items(site.namespace.jobs)
    return [j for j in found if j["metadata"]["labels"].get("substratus.ai/task") == task]


def job_of(site: ClusterSite, task: str, *known: Any) -> Any:
    """The Job of a task, once it is there; another one than those that are known."""
    others = set(map(uid, known))
    return eventually(
        lambda: next((job for job in jobs_of(site, task) if uid(job) not in others), None),
        f"the {task} Job",
        seconds=PATIENCE,
    )


def complete(site: ClusterSite, job: Any, **said: Any) -> None:
    message = json.dumps({"v": 1, "state": "complete", **said})
    site.kubelet(job, terminated(0, message=message))


def built(site: ClusterSite, job: Any) -> str:
    """Let a build succeed; returns the image."""
    output = job["metadata"]["annotations"]["substratus.ai/output"]
    digest = hashlib.sha256(output.encode()).hexdigest()
    image = f"{output.rpartition(':')[0]}@sha256:{digest}"
    complete(site, job, image=image)
    return image


def image_of(job: Any) -> str:
    containers = job["spec"]["template"]["spec"]["containers"]
    (image,) = (each["image"] for each in containers if each["name"] == "main")
    found: str = image
    return found


def test_a_test_is_built_by_a_job_of_its_own_and_run_in_that_image(
    site: ClusterSite, code: tuple[Site, str]
) -> None:
    test, url = code
    test.write("Dockerfile", "FROM scratch\n")
    first = test.push()
    more = (
        "  evaluation:\n    command: [evaluate.sh]\n    require: [accuracy >= 0.5]\n"
        f"    source: {{git: {{url: '{url}', update: Follow}}}}\n"
    )
    site.push_model("a", more=more)
    with daemon(site):
        train, build = job_of(site, "train"), job_of(site, "build")
        assert image_of(train) == IMAGE
        fetched = json.dumps(build["spec"]["template"]["spec"]["initContainers"])
        assert first in fetched
        image = built(site, build)
        complete(site, train)
        evaluate = job_of(site, "evaluate")
        assert image_of(evaluate) == image
        complete(site, evaluate, metrics={"accuracy": 0.9})
        until(lambda: site.phases().get("a") == "Ready", what="it to be Ready")
        assert site.statuses()["a"]["evaluationSource"]["commit"] == first
        test.write("Dockerfile", "FROM scratch\nLABEL stricter=true\n")
        second = test.push()
        again = job_of(site, "build", build)
        image = built(site, again)
        stricter = job_of(site, "evaluate", evaluate)
        assert image_of(stricter) == image
        complete(site, stricter, metrics={"accuracy": 0.8})
        until(
            lambda: site.statuses()["a"]["artifact"].get("metrics") == {"accuracy": 0.8},
            what="the metrics of the other test",
        )
        assert site.statuses()["a"]["evaluationSource"]["commit"] == second
        assert [uid(job) for job in jobs_of(site, "train")] == [uid(train)], "nothing is trained"


def test_a_build_of_a_test_that_fails_is_told_as_such(
    site: ClusterSite, code: tuple[Site, str]
) -> None:
    test, url = code
    test.write("Dockerfile", "FROM scratch\nRUN false\n")
    test.push()
    source = f"{{git: {{url: '{url}'}}}}"
    more = f"  build: {{retries: 0}}\n  evaluation: {{command: [evaluate.sh], source: {source}}}\n"
    site.push_model("a", more=more)
    with daemon(site):
        failed = {"v": 1, "state": "failed", "class": "command", "exitCode": 1, "attempt": 1}
        told = failed | {"reason": "CommandFailed", "message": "RUN false: exit code 1"}
        site.kubelet(job_of(site, "build"), terminated(1, message=json.dumps(told)))
        complete(site, job_of(site, "train"))
        until(lambda: site.phases().get("a") == "Failed", what="it to be Failed")
        until(
            lambda: site.told("a").startswith("Failed: evaluation build: "),
            what="the message of the build",
        )
        assert not jobs_of(site, "evaluate")
