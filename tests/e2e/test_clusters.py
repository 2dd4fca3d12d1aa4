"""Two clusters at once, each with its API server and daemon, on one manifest repository."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import eventually
from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Namespace
from tests.e2e.cluster_site import IMAGE, uid
from tests.e2e.member import ClusterMember, authors, exists
from tests.e2e.site import git, stop, until
from tests.engines.kubernetes.orders import running, terminated
from tests.patience import PATIENCE


def bucket(cluster: str) -> dict[str, Any]:
    """A cluster's bucket, as that cluster mounts it."""
    return {"url": f"s3://{cluster}-artifacts", "driver": "rclone", "secret": f"{cluster}-writer"}


@pytest.fixture
def prod(tmp_path: Path, own_control_plane: Cluster) -> ClusterMember:
    found = ClusterMember(tmp_path / "prod", Namespace(own_control_plane, "default"), "prod")
    found.configure(buckets={"default": bucket("prod")})
    return found


@pytest.fixture
def staging(tmp_path: Path, namespace: Namespace, prod: ClusterMember) -> ClusterMember:
    found = ClusterMember(tmp_path / "staging", namespace, "staging", prod)
    found.configure(
        buckets={
            "default": bucket("staging"),
            "prod": {**bucket("prod"), "secret": "prod-reader"},
        },
        clusters={"prod": {"registries": ["registry.test"], "buckets": ["s3://prod-artifacts"]}},
    )
    return found


@contextmanager
def daemon(*members: ClusterMember, replica: str = "one") -> Iterator[None]:
    processes = [(member, member.daemon(replica)) for member in members]
    try:
        yield
        for member, process in processes:
            assert stop(process) == 0, member.log_of(replica)
            assert "Traceback" not in member.log_of(replica)
    finally:
        for _, process in processes:
            stop(process, signal.SIGKILL)


def status(member: ClusterMember, name: str) -> dict[str, Any]:
    return member.statuses().get(name, {})


def says(member: ClusterMember, name: str, phase: str, reason: str = "") -> None:
    """Wait until a status says so."""

    def said() -> bool:
        found = status(member, name)
        return found.get("phase") == phase and reason in found.get("message", "")

    try:
        until(said, what=f"{name} to be {phase}: {reason}")
    except AssertionError:
        found = status(member, name)
        assert (found.get("phase"), found.get("message")) == (phase, reason)


def jobs(member: ClusterMember) -> dict[str, Any]:
    """Every Job of the member's namespace, also those that are kept as history, by UID."""
    return {uid(job): job for job in member.namespace.cluster.api.items(member.namespace.jobs)}


def new_job(member: ClusterMember, name: str, *before: Any) -> Any:
    """The Job of an object that is not one of these."""
    known = {uid(job) for job in before}

    def found() -> Any:
        for job in jobs(member).values():
            if (
                job["metadata"]["labels"].get("substratus.ai/name") == name
                and uid(job) not in known
            ):
                return job
        return None

    return eventually(found, f"a new Job of {name}", seconds=PATIENCE)


def carried(member: ClusterMember, name: str, *before: Any) -> Any:
    """Carry an object's new Job through; returns the Job."""
    job = new_job(member, name, *before)
    member.kubelet(job, terminated(0))
    until(
        lambda: status(member, name).get("artifact", {}).get("key") == key_of(job),
        what=f"{name} to be made",
    )
    return job


def key_of(job: Any) -> str:
    return str(job["metadata"]["labels"]["substratus.ai/key"])


def base_of(job: Any) -> dict[str, Any]:
    """The sidecar by which a Job's pod reads its base."""
    containers = job["spec"]["template"]["spec"]["initContainers"]
    (found,) = [c for c in containers if c["name"] == "rclone-base"]
    return dict(found)


@pytest.mark.timeout(600)
def test_a_reference_waits_resolves_follows_and_outlives_the_other_cluster(
    prod: ClusterMember, staging: ClusterMember
) -> None:
    prod.base("base", epochs=1)
    there = prod.namespace.name
    staging.follower("fine", "base", "prod", namespace=there)
    staging.promoted("live", "base", "prod", namespace=there)
    prod.push()
    with daemon(prod, staging):
        says(staging, "fine", "Waiting", f"Model {there}/base of cluster prod")
        says(staging, "live", "Waiting", "cluster prod")
        assert not jobs(staging)

        # It resolves: the other's image by digest and its files by URL, read with this cluster's
        # own credentials.
        first = carried(prod, "base")
        made = status(prod, "base")["artifact"]
        job = new_job(staging, "fine")
        pod = job["spec"]["template"]["spec"]
        assert [c["image"] for c in pod["containers"]] == [IMAGE]
        place = made["url"].removeprefix("s3://").rstrip("/")
        assert f"s3:{place}" in base_of(job)["args"]
        secrets = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        assert secrets == {"prod-reader", "staging-writer"}
        says(staging, "live", "Ready")
        taken = status(staging, "live")
        assert (taken["artifact"], taken["image"]) == (made, IMAGE)
        assert jobs(staging).keys() == {uid(job)}, "a promotion runs nothing"

        # What is under way when the other makes a newer one finishes first.
        staging.kubelet(job, running())
        says(staging, "fine", "Training")
        prod.base("base", epochs=2)
        prod.push()
        newer = carried(prod, "base", first)
        until(
            lambda: status(staging, "live")["artifact"]["key"] == key_of(newer),
            what="the promotion to follow",
        )
        says(staging, "fine", "Training", "finishes first")
        assert jobs(staging).keys() == {uid(job)}
        staging.kubelet(job, terminated(0))
        followed = carried(staging, "fine", job)
        assert key_of(newer) in " ".join(base_of(followed)["args"])

        # A pin is to one artifact, also to one that is not the newest.
        staging.follower("pinned", "base", "prod", namespace=there, key=made["key"])
        prod.push()
        pinned = carried(staging, "pinned")
        assert f"s3:{place}" in base_of(pinned)["args"]

    assert authors(prod.remote, prod.branch) == {"prod"}
    assert authors(prod.remote, staging.branch) == {"staging"}

    # Gone: what is finished stays as it is, and nothing new is begun.
    git(prod.remote, "update-ref", "-d", f"refs/heads/{prod.branch}")
    staging.follower("late", "base", "prod", namespace=there)
    prod.push()
    before = jobs(staging).keys()
    with daemon(staging, replica="two"):
        says(staging, "late", "Waiting", f"the repository has no branch {prod.branch}")
        assert {name: s["phase"] for name, s in staging.statuses().items()} == {
            "fine": "Ready",
            "live": "Ready",
            "pinned": "Ready",
            "late": "Waiting",
        }
        assert jobs(staging).keys() == before
        assert not exists(prod.remote, prod.branch)

        # Back: its daemon makes the branch anew from what the cluster still has.
        with daemon(prod, replica="two"):
            says(prod, "base", "Ready")
            job = new_job(staging, "late")
            assert f"s3:{status(prod, 'base')['artifact']['url'][5:-1]}" in base_of(job)["args"]
    assert authors(prod.remote, prod.branch) == {"prod"}
    assert authors(prod.remote, staging.branch) == {"staging"}


@pytest.mark.timeout(600)
def test_what_somebody_else_writes_there_is_refused_and_waited_out(
    prod: ClusterMember, staging: ClusterMember
) -> None:
    there = prod.namespace.name
    prod.base("base", epochs=1)
    staging.follower("fine", "base", "prod", namespace=there)
    prod.push()
    with daemon(prod):
        carried(prod, "base")
    path = f"{there}/models/base.yaml"
    good = prod.show(path)
    artifact = status(prod, "base")["artifact"]
    host = artifact["url"].replace("s3://prod-artifacts", "file:///etc")
    other = artifact["url"].replace("prod-artifacts", "other")
    with daemon(staging):
        carried(staging, "fine")
        before = jobs(staging).keys()
        staging.follower("new", "base", "prod", namespace=there)
        for text, reason in (
            (good.replace(artifact["url"], host), "is bound to a node"),
            (good.replace(artifact["url"], other), "is in no bucket that clusters allows"),
            (good.replace("registry.test/base", "evil.test/base"), "in no registry that clusters"),
            (good.replace("substratus.ai/v1", "substratus.ai/v9"), "this daemon reads"),
            ("a: &a [*a]\n", "cannot be read"),
            (None, "there is no status of it"),
        ):
            forged(prod, path, text)
            prod.push()
            says(staging, "new", "Waiting", reason)
            assert staging.phases()["fine"] == "Ready"
            assert jobs(staging).keys() == before
        forged(prod, path, good)
        new_job(staging, "new")


def forged(member: ClusterMember, path: str, text: str | None) -> None:
    """Somebody with push rights puts a file on the cluster's status branch, or takes it away."""
    folder = member.root / "forger"
    if not folder.exists():
        git(
            member.root, "clone", "--quiet", "--branch", member.branch, str(member.remote), "forger"
        )
    file = folder / path
    if text is None:
        file.unlink()
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Forged")
    git(folder, "push", "--quiet", "origin", member.branch)


def test_the_plan_of_a_pull_request_does_not_guess_at_the_other_cluster(
    prod: ClusterMember, staging: ClusterMember
) -> None:
    there = prod.namespace.name
    prod.base("base", epochs=1)
    first = prod.push()
    with daemon(prod):
        carried(prod, "base")
    key = status(prod, "base")["artifact"]["key"]
    staging.follower("fine", "base", "prod", namespace=there)
    staging.follower("pinned", "base", "prod", namespace=there, key=key)
    second = prod.push()
    done = staging.run_command(
        "plan", "--base", first, "--head", second, "--repo", str(prod.remote), "--format", "json"
    )
    actions = {action["name"]: action for action in json.loads(done)["actions"]}
    assert actions["pinned"]["action"] == "create"
    assert actions["pinned"]["key"] is not None
    assert actions["fine"]["action"] == "wait"
    assert actions["fine"]["key"] is None
    assert "unknown until a sync, as it follows" in actions["fine"]["message"]
    assert "cluster prod" in actions["fine"]["message"]
    why = staging.run_command("why", "fine", "--head", second, "--repo", str(prod.remote))
    assert "train: starts with the next sync" in why
