"""References to other clusters: what they come to, and what they can never do here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine import Capacity
from reconciler.planner.ledger import Ledger
from reconciler.planner.phases import Phase
from reconciler.planner.plan import ActionKind
from reconciler.planner.planner_config import RemoteCluster
from reconciler.planner.remote_clusters import RemoteArtifact, RemoteObject, Unavailable, refused
from reconciler.review.report import review
from reconciler.status.encoding import dump_record, load_record
from reconciler.types import ForeignRef, TaskKey, TaskKind
from tests.planner.world import World, dataset, finetune, model, scratch

BASE = ForeignRef("prod", model("base"))
ROWS = ForeignRef("prod", dataset("rows"))
CLUSTER = RemoteCluster(registries=("registry.prod.test/models",), buckets=("s3://prod/clusters",))
FINE = """\
kind: Model
metadata: {name: fine}
spec:
  source: {model: {name: base, cluster: prod%s}}
  training: {params: {epochs: 3}}
"""
PROMOTED = """\
kind: Model
metadata: {name: live}
spec:
  source: {model: {name: base, cluster: prod%s}}
  load: {command: []}
"""


def key(letter: str) -> TaskKey:
    return TaskKey(letter * 40)


def remote_artifact(letter: str, build: str = "e") -> RemoteArtifact:
    return RemoteArtifact(
        key=key(letter),
        url=f"s3://prod/clusters/prod/namespaces/default/models/base/{key(letter)}/",
        image=f"registry.prod.test/models/default@sha256:{build * 64}",
        image_key=build * 40,
    )


def ready(*letters: str) -> RemoteObject:
    """An object whose last artifact is the last of these."""
    artifacts = {key(letter): remote_artifact(letter) for letter in letters}
    return RemoteObject(phase="Ready", current=remote_artifact(letters[-1]), artifacts=artifacts)


def world(text: str = FINE % "", *, base: RemoteObject | None = None) -> World:
    found = World({"a.yaml": text})
    found.settings = replace(found.settings, cluster="staging", clusters={"prod": CLUSTER})
    found.remote = {BASE: base} if base is not None else {}
    return found


def restarted(known: World) -> None:
    """A new daemon: it has what the status files say, and the engine's runs."""
    records = {r: load_record("x", dump_record(known.records[r])) for r in known.records}
    known.records, known.ledger = records, Ledger()
    for record in records.values():
        known.ledger.learn_record(record)


def test_the_other_cluster_s_artifact_is_the_base_and_its_image_is_run() -> None:
    here = world(base=ready("a"))
    here.sync()
    (spec,) = here.created
    assert spec.task is TaskKind.TRAIN
    assert spec.image == remote_artifact("a").image
    assert spec.base is not None
    assert (spec.base.key, spec.base.url, spec.base.cluster) == (
        key("a"),
        remote_artifact("a").url,
        "prod",
    )
    assert spec.lineage["base"] == {
        "key": key("a"),
        "url": remote_artifact("a").url,
        "cluster": "prod",
    }
    assert spec.output is not None
    assert spec.output.startswith("file:///buckets/clusters/staging/")


def test_the_same_content_has_the_same_key_whichever_way_it_is_referred_to() -> None:
    there = World({"a.yaml": scratch("base"), "b.yaml": finetune("fine", "base")})
    there.settle()
    base = there.records[model("base")]
    assert base.artifact is not None
    same = replace(remote_artifact("a"), key=base.artifact.key, image_key=base.artifact.image_key)
    here = world(base=RemoteObject(phase="Ready", current=same))
    here.settings = replace(here.settings, cluster=there.settings.cluster)
    assert here.keys()["fine", TaskKind.TRAIN] == there.keys()["fine", TaskKind.TRAIN]


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        (RemoteObject(phase="Training"), "it is Training, with no complete artifact yet"),
        (Unavailable("it was removed there"), "it was removed there"),
        (Unavailable("the repository has no branch x"), "the repository has no branch x"),
        (None, "its status has not been read yet"),
    ],
)
def test_what_is_not_there_yet_is_waited_for(
    cluster: RemoteObject | Unavailable | None, reason: str
) -> None:
    here = world()
    if cluster is not None:
        here.remote[BASE] = cluster
    here.sync()
    assert here.phase("fine") is Phase.WAITING
    told = here.records[model("fine")].message
    assert told == f"waiting for Model default/base of cluster prod: {reason}"
    assert here.keys() == {("fine", TaskKind.TRAIN): None}


def test_a_newer_one_is_waited_for_while_the_last_one_serves() -> None:
    here = world(base=replace(ready("a"), phase="Training"))
    here.settle()
    assert here.phase("fine") is Phase.READY


def test_a_newer_artifact_there_is_taken_once_the_run_of_the_older_has_finished() -> None:
    here = world(base=ready("a"))
    here.sync()
    older = here.run_of("fine", TaskKind.TRAIN)
    here.start(older)
    here.remote[BASE] = ready("a", "b")
    plan = here.sync()
    assert not plan.endings
    assert here.live() == [older]
    assert "finishes first" in here.records[model("fine")].message
    here.succeed(older)
    here.settle()
    assert here.records[model("fine")].references[0].key == key("b")
    assert here.made() == [("fine", "train"), ("fine", "train")]


def test_a_run_that_a_person_supersedes_is_cancelled_though_it_follows() -> None:
    here = world(base=ready("a"))
    here.sync()
    here.files["a.yaml"] = here.files["a.yaml"].replace("epochs: 3", "epochs: 4")
    assert [ending.action for ending in here.sync().endings] == [ActionKind.CANCEL]


def test_a_pinned_key_stays_whatever_becomes_of_the_other_cluster_s_newest() -> None:
    here = world(FINE % f", key: {key('a')}", base=ready("a", "b"))
    here.settle()
    assert here.records[model("fine")].references[0].key == key("a")
    here.remote[BASE] = ready("a", "b", "c")
    assert not here.plan().creates()
    assert here.made() == [("fine", "train")]


def test_a_pinned_key_that_is_not_complete_there_is_waited_for() -> None:
    here = world(FINE % f", key: {key('c')}", base=ready("a"))
    here.sync()
    assert here.records[model("fine")].message.endswith(f"no complete artifact {key('c')}")


@pytest.mark.parametrize("text", [FINE % "", PROMOTED % ""])
@pytest.mark.parametrize("restart", [False, True])
def test_what_is_finished_stays_ready_when_the_other_cluster_is_gone(
    text: str, restart: bool
) -> None:
    here = world(text, base=ready("a"))
    here.settle()
    if restart:
        restarted(here)
    here.remote[BASE] = Unavailable("the repository has no branch reconciler/status/prod")
    before = dict(here.records)
    here.settle()
    assert {record.phase for record in here.records.values()} == {Phase.READY}
    for ref, record in here.records.items():
        assert record.artifact == before[ref].artifact
        assert record.references == before[ref].references
        (lost,) = [c for c in record.conditions if c.type == "ReferenceUnavailable"]
        assert "no branch reconciler/status/prod" in lost.message


def test_nothing_new_is_made_of_what_cannot_be_asked() -> None:
    here = world(base=ready("a"))
    here.settle()
    here.made()
    here.remote[BASE] = Unavailable("it was removed there")
    here.files["a.yaml"] = here.files["a.yaml"].replace("epochs: 3", "epochs: 4")
    here.settle()
    assert here.made() == []
    assert here.phase("fine") is Phase.WAITING
    here.remote[BASE] = ready("a")
    here.settle()
    assert here.phase("fine") is Phase.READY


def test_a_run_goes_on_when_the_other_cluster_goes_meanwhile() -> None:
    here = world(base=ready("a"))
    here.sync()
    here.start(here.run_of("fine", TaskKind.TRAIN))
    here.remote[BASE] = Unavailable("it was removed there")
    assert not here.sync().endings
    assert here.phase("fine") is Phase.TRAINING


def test_a_promotion_takes_over_image_and_artifact_and_runs_nothing() -> None:
    here = world(PROMOTED % "", base=ready("a"))
    here.settle()
    record = here.records[model("live")]
    assert here.made() == []
    assert record.phase is Phase.READY
    assert record.image == remote_artifact("a").image
    assert record.artifact is not None
    assert (record.artifact.key, record.artifact.url) == (key("a"), remote_artifact("a").url)
    assert record.artifact.image_key == remote_artifact("a").image_key, "for a third cluster"
    here.remote[BASE] = ready("a", "b")
    here.settle()
    artifact = here.records[model("live")].artifact
    assert artifact is not None
    assert artifact.key == key("b")


def test_what_is_made_of_a_promoted_model_reads_the_other_cluster_s_files() -> None:
    here = world(PROMOTED % "", base=ready("a"))
    here.files["b.yaml"] = finetune("more", "live")
    here.sync()
    (spec,) = here.created
    assert spec.base is not None
    assert (spec.base.url, spec.base.cluster) == (remote_artifact("a").url, "prod")
    assert spec.image == remote_artifact("a").image


def test_a_dataset_of_another_cluster_needs_no_image() -> None:
    here = world(scratch("own", ", dataset: {name: rows, cluster: prod}"))
    here.remote[ROWS] = RemoteObject(
        phase="Ready", current=RemoteArtifact(key=key("d"), url="s3://prod/clusters/rows")
    )
    here.settle()
    (spec,) = [spec for spec in here.created if spec.task is TaskKind.TRAIN]
    assert spec.dataset is not None
    assert spec.dataset.url == "s3://prod/clusters/rows"
    assert here.phase("own") is Phase.READY


def test_an_image_that_allow_images_does_not_name_is_fine_from_where_clusters_allows_it() -> None:
    here = world(base=ready("a"))
    here.settings = replace(here.settings, allow_images=("registry.staging.test/*",))
    here.settle()
    assert here.phase("fine") is Phase.READY
    named = "kind: Model\nmetadata: {name: own}\nspec: {source: {image: {ref: '%s'}}}\n"
    here.files["b.yaml"] = named % remote_artifact("a").image
    here.sync()
    assert "is not in allow.images" in here.records[model("own")].message


def test_a_cluster_that_is_not_configured_is_an_error_of_the_manifest() -> None:
    here = world((FINE % "").replace("prod", "elsewhere"))
    here.sync()
    record = here.records[model("fine")]
    assert record.phase is Phase.INVALID
    assert "spec.source.model.cluster" in record.message


def test_an_object_of_the_same_name_here_is_another() -> None:
    here = world(base=ready("a"))
    here.files["b.yaml"] = scratch("base")
    here.settle()
    assert here.records[model("fine")].references[0].key == key("a")


def test_no_key_that_another_cluster_tells_of_counts_for_a_task_of_this_one() -> None:
    here = world(PROMOTED % "", base=ready("a"))
    here.files["b.yaml"] = scratch("own")
    wanted = here.keys()["own", TaskKind.TRAIN]
    assert wanted is not None
    forged = replace(remote_artifact("a"), key=wanted)
    here.remote[BASE] = RemoteObject(phase="Ready", current=forged, artifacts={wanted: forged})
    here.settle()
    assert ("own", "train") in here.made()
    artifact = here.records[model("own")].artifact
    assert artifact is not None
    assert artifact.url.startswith("file:///buckets/clusters/staging/")


def test_many_that_follow_are_held_by_the_guard() -> None:
    here = world(base=ready("a"))
    here.settle()
    here.settings = replace(here.settings, guard_tasks=0)
    here.remote[BASE] = ready("a", "b")
    here.sync()
    assert here.phase("fine") is Phase.HELD


def test_a_plan_ahead_says_unknown_of_what_follows_and_knows_what_is_pinned() -> None:
    here = world(base=ready("a"))
    here.files["b.yaml"] = (FINE % f", key: {key('a')}").replace("name: fine", "name: pinned")
    here.ahead = True
    plan = here.plan()
    told = {a.ref.name: a for a in review(plan, before=plan, errors=()).actions}
    assert told["pinned"].action is ActionKind.CREATE
    assert told["pinned"].key is not None
    assert told["fine"].action is ActionKind.WAIT
    assert told["fine"].key is None
    assert told["fine"].message == (
        "unknown until a sync, as it follows Model default/base of cluster prod "
        "(aaaaaaaaaaaa there now)"
    )


def test_a_plan_ahead_keeps_what_is_made_and_knows_no_key_of_what_would_be() -> None:
    here = world(base=ready("a"))
    here.settle()
    here.ahead = True
    plan = here.plan()
    (kept,) = review(plan, before=plan, errors=()).actions
    assert kept.action is ActionKind.KEEP
    here.files["a.yaml"] = here.files["a.yaml"].replace("epochs: 3", "epochs: 4")
    changed = here.plan()
    (waits,) = review(changed, before=plan, errors=()).actions
    assert (waits.action, waits.key) == (ActionKind.WAIT, None)


def test_an_engine_without_containers_says_so() -> None:
    here = world(base=ready("a"))
    here.capacity = Capacity(containers=False)
    here.sync()
    assert "no container runtime" in here.records[model("fine")].message


# -- what may be named -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///srv/models/a", "bound to a node"),
        ("pvc://claim/a", "bound to a node"),
        ("s3://other/clusters/a", "in no bucket that clusters allows"),
        ("s3://prod/clusters-of-others/a", "in no bucket that clusters allows"),
        ("gs://prod/clusters/a", "in no bucket that clusters allows"),
        ("s3://prod/clusters/../secret", "no bucket URL"),
        ("s3://prod/clusters/./a", "no bucket URL"),
        ("s3://prod/clusters//a", "no bucket URL"),
        ("s3://prod/clusters/a?x=1", "no bucket URL"),
        ("s3://prod/clusters/a b", "no bucket URL"),
        ("s3://prod/clusters/a,only-dir=b", "no bucket URL"),
        ("s3://user@prod/clusters/a", "no bucket URL"),
        ("s3://prod/clusters/%2e%2e/a", "no bucket URL"),
        ("s3:///clusters/a", "no bucket URL"),
        ("clusters/a", "no bucket URL"),
        ("", "no bucket URL"),
    ],
)
def test_a_url_outside_what_is_allowed_is_refused(url: str, why: str) -> None:
    told = refused(replace(remote_artifact("a"), url=url), CLUSTER, image=True)
    assert told is not None
    assert why in told


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (None, "names no image"),
        ("registry.prod.test/models/default:latest", "not pinned by digest"),
        (f"registry.prod.test/models@sha256:{'e' * 63}", "not pinned by digest"),
        (f"registry.prod.test/other/m@sha256:{'e' * 64}", "in no registry that clusters allows"),
        (f"registry.prod.test.evil.test/models/m@sha256:{'e' * 64}", "in no registry"),
        (f"evil.test/registry.prod.test/models/m@sha256:{'e' * 64}", "in no registry"),
        (f"registry.prod.test/models/../m@sha256:{'e' * 64}", "not pinned by digest"),
    ],
)
def test_an_image_outside_what_is_allowed_is_refused(image: str | None, why: str) -> None:
    told = refused(replace(remote_artifact("a"), image=image), CLUSTER, image=True)
    assert told is not None
    assert why in told
    assert refused(replace(remote_artifact("a"), image=image), CLUSTER, image=False) is None


def test_a_digest_in_keys_is_that_of_the_image() -> None:
    lied = replace(remote_artifact("a"), image_key=f"sha256:{'0' * 64}")
    assert "not the one that its key was made with" in (refused(lied, CLUSTER, image=True) or "")
    right = replace(remote_artifact("a"), image_key=f"sha256:{'e' * 64}")
    assert refused(right, CLUSTER, image=True) is None


def test_a_glob_for_hosts_does_not_run_on_into_the_path() -> None:
    cluster = RemoteCluster(registries=("*.prod.test/models",), buckets=("s3://prod-*/m",))
    inside = replace(
        remote_artifact("a"),
        url="s3://prod-eu/m/a",
        image=f"r.prod.test/models/m@sha256:{'e' * 64}",
    )
    assert refused(inside, cluster, image=True) is None
    other = replace(inside, image=f"evil.test/r.prod.test/models/m@sha256:{'e' * 64}")
    assert refused(other, cluster, image=True) is not None
    assert refused(replace(inside, url="s3://prod-eu/x/m/a"), cluster, image=True) is not None


@given(st.text(max_size=60))
def test_nothing_that_is_not_under_an_allowed_bucket_is_taken(text: str) -> None:
    url = f"s3://prod/{text}"
    if refused(replace(remote_artifact("a"), url=url), CLUSTER, image=False) is None:
        parts = text.rstrip("/").split("/")
        assert parts[0] == "clusters"
        assert not {"", ".", ".."} & {*parts}
