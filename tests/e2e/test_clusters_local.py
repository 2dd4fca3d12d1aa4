"""Two daemons of the local engine on one repository: what they refuse each other."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.member import LocalMember, authors
from tests.e2e.site import git, until
from tests.patience import PATIENCE

CLUSTER = {"prod": {"registries": ["registry.test"], "buckets": ["s3://prod"]}}
ROWS = "kind: Dataset\nmetadata: {name: rows}\nspec: {source: {bucket: {url: '%s'}}}\n"


@pytest.fixture
def prod(tmp_path: Path) -> LocalMember:
    return LocalMember(tmp_path / "prod", "prod")


@pytest.fixture
def staging(tmp_path: Path, prod: LocalMember) -> LocalMember:
    found = LocalMember(tmp_path / "staging", "staging", prod)
    found.configure(clusters=CLUSTER)
    return found


def reads_rows_of_prod(staging: LocalMember) -> None:
    """A Model of staging with a Dataset of prod."""
    staging.script("staging/src/own/train.sh", 'echo made > "$MODEL_DIR/weights"\n')
    staging.write(
        "staging/own.yaml",
        "kind: Model\nmetadata: {name: own}\nspec:\n"
        "  source: {git: {url: ., path: staging/src/own}}\n"
        "  training:\n    mode: Scratch\n    dataset: {name: rows, cluster: prod}\n"
        f"    env: {staging.env('own')}\n",
    )


def reason(member: LocalMember, name: str) -> str:
    found: str = member.statuses()[name]["message"]
    return found


def test_what_is_on_another_cluster_s_disk_is_refused(
    prod: LocalMember, staging: LocalMember, tmp_path: Path
) -> None:
    prod.write("prod/rows.yaml", ROWS % (tmp_path / "rows").as_uri())
    reads_rows_of_prod(staging)
    prod.push()
    assert staging.run_once().returncode == 3
    assert "the repository has no branch reconciler/status/prod" in reason(staging, "own")
    assert prod.run_once().returncode == 0
    assert staging.run_once().returncode == 3
    assert "is bound to a node of that cluster; expected a bucket" in reason(staging, "own")
    assert staging.phases() == {"own": "Waiting"}
    assert prod.phases() == {"rows": "Ready"}
    assert not staging.ran()


def test_a_bucket_that_is_not_allowed_is_refused(prod: LocalMember, staging: LocalMember) -> None:
    prod.write("prod/rows.yaml", ROWS % "s3://others/rows")
    reads_rows_of_prod(staging)
    prod.push()
    assert prod.run_once().returncode == 0
    assert staging.run_once().returncode == 3
    assert "s3://others/rows is in no bucket that clusters allows" in reason(staging, "own")


def test_a_cluster_that_is_not_configured_is_an_error_at_its_line(
    prod: LocalMember, staging: LocalMember
) -> None:
    staging.configure()
    reads_rows_of_prod(staging)
    prod.push()
    assert staging.run_once().returncode == 1
    assert "staging/own.yaml:7:" in reason(staging, "own")
    assert 'cluster "prod" is not configured under clusters' in reason(staging, "own")


def test_a_daemon_refuses_to_start_on_anothers_branch(
    prod: LocalMember, staging: LocalMember
) -> None:
    prod.write("prod/rows.yaml", ROWS % "s3://prod/rows")
    prod.push()
    assert prod.run_once().returncode == 0
    before = git(prod.remote, "rev-parse", prod.branch)
    staging.configure(status={"branch": prod.branch})
    done = staging.run_once()
    assert done.returncode == 1
    assert "the status branch belongs to a daemon with cluster 'prod'" in done.stderr
    assert git(prod.remote, "rev-parse", prod.branch) == before


def test_of_two_that_begin_on_one_branch_at_once_the_second_gives_up(
    prod: LocalMember, staging: LocalMember
) -> None:
    prod.write("prod/rows.yaml", ROWS % "s3://prod/rows")
    staging.write("staging/rows.yaml", ROWS % "s3://staging/rows")
    prod.push()
    staging.configure(status={"branch": prod.branch, "interval": "600s"})
    late = staging.start()
    try:
        until(lambda: "new head" in staging.log(), what="the late one to have looked")
        assert prod.run_once().returncode == 0
        late.send_signal(signal.SIGTERM)  # it pushes what it knows before it ends
        late.wait(PATIENCE)
    finally:
        late.kill()
    assert "belongs to a daemon with cluster 'prod'" in staging.log()
    assert "Traceback" not in staging.log()
    assert authors(prod.remote, prod.branch) == {"prod"}
    assert "s3://prod/rows" in prod.show("default/datasets/rows.yaml")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"clusters": {"staging": {}}}, "which is this cluster itself"),
        ({"clusters": {"prod": {"branch": "reconciler/status/staging"}}}, "both have the status"),
        ({"clusters": {"prod": {"buckets": ["file:///srv"]}}}, "nodes can reach"),
        ({"clusters": {"prod": {"buckets": ["prod"]}}}, "clusters.prod.buckets[0]"),
        ({"clusters": {"prod": {"registries": ["https://r.test"]}}}, "clusters.prod.registries[0]"),
        ({"status": {"branch": "main"}}, "which the manifests are on"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(
    staging: LocalMember, sections: dict[str, dict[str, object]], said: str
) -> None:
    config = json.loads((staging.root / "reconciler.yaml").read_text())
    (staging.root / "reconciler.yaml").write_text(json.dumps(config | sections))
    done = staging.run_once()
    assert done.returncode == 64
    assert said in done.stderr
