"""Plans of several tenants: what is shared, counted, held and released."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.manifests import Tenant, Tenants
from reconciler.planner.phases import Phase
from reconciler.planner.plan import Hold, HoldKind
from reconciler.types import Kind, Location, ObjectRef, TaskKind
from tests.planner.world import World


def tenant(name: str, **more: object) -> Tenant:
    given = {"name": name, "paths": (f"{name}/**",), "namespaces": (name,), **more}
    return Tenant(**given)  # type: ignore[arg-type]


def world(vision: Tenant | None = None, mallory: Tenant | None = None, **settings: object) -> World:
    found = World()
    tenants = Tenants((vision or tenant("vision"), mallory or tenant("mallory"), tenant("shared")))
    found.settings = replace(found.settings, tenants=tenants, **settings)  # type: ignore[arg-type]
    return found


def scratch(owner: str, name: str = "m", more: str = "") -> str:
    return (
        f"kind: Model\nmetadata: {{name: {name}, namespace: {owner}}}\nspec:\n"
        f"  source: {{git: {{url: ., path: src}}}}\n  training: {{mode: Scratch{more}}}\n"
    )


def finetune(owner: str, base: str, name: str = "f") -> str:
    return (
        f"kind: Model\nmetadata: {{name: {name}, namespace: {owner}}}\nspec:\n"
        f"  source: {{model: {{name: m, namespace: {base}}}}}\n  training: {{}}\n"
    )


def ref(owner: str, name: str = "m") -> ObjectRef:
    return ObjectRef(Kind.MODEL, owner, name)


def gpus(count: int) -> str:
    return f", resources: {{gpu: {{count: {count}}}}}"


def live(at: World, owner: str) -> list[str]:
    return [run.name for run in at.runs.values() if run.live and run.namespace == owner]


# -- what is shared ------------------------------------------------------------------------------


def test_a_tenant_runs_in_no_image_that_another_has_built() -> None:
    at = world()
    at.files["mallory/m.yaml"] = scratch("mallory")
    at.settle()
    at.made()
    at.files["vision/m.yaml"] = scratch("vision")
    at.settle()
    assert at.made() == [("build", "build"), ("m", "train")]
    images = {
        spec.namespace: spec.image for spec in at.specs.values() if spec.task is TaskKind.TRAIN
    }
    builds = {spec.namespace: spec.key for spec in at.specs.values() if spec.build is not None}
    assert images["vision"] == f"registry/image@sha256:{builds['vision']}"
    assert builds["vision"] != builds["mallory"]


def test_a_failed_build_of_one_tenant_is_none_of_another() -> None:
    at = world()
    at.files["mallory/m.yaml"] = scratch("mallory")
    at.settle(World.fail)
    assert at.records[ref("mallory")].phase is Phase.FAILED
    at.files["vision/m.yaml"] = scratch("vision")
    at.settle()
    assert at.records[ref("vision")].phase is Phase.READY


def test_an_artifact_has_the_same_key_with_and_without_tenants() -> None:
    at = World({"vision/m.yaml": scratch("vision"), "vision/f.yaml": finetune("vision", "vision")})
    at.settle()
    before = {ref: record.artifact for ref, record in at.records.items()}
    at.made()
    at.settings = world().settings
    at.settle()
    assert at.made() == [], "a configuration that gets tenants makes nothing again"
    assert {ref: record.artifact for ref, record in at.records.items()} == before
    other = world()
    other.files = at.files
    other.settle()
    assert {ref: record.artifact for ref, record in other.records.items()} == {
        ref: replace(artifact, image=other.records[ref].artifact.image)  # type: ignore[union-attr]
        for ref, artifact in before.items()
        if artifact is not None
    }


def test_what_is_lent_brings_its_image() -> None:
    at = world()
    at.files = {"shared/m.yaml": scratch("shared"), "vision/f.yaml": finetune("vision", "shared")}
    at.settle()
    assert at.made() == [("build", "build"), ("f", "train"), ("m", "train")]
    record = at.records[ref("vision", "f")]
    assert record.phase is Phase.READY
    assert record.artifact is not None
    assert record.artifact.image == at.records[ref("shared")].image
    key = at.records[ref("shared")].desired
    at.files["vision/f.yaml"] = finetune("vision", "shared").replace(
        "{name: m,", f'{{name: m, key: "{key}",'
    )
    at.settle()
    assert at.made() == [], "a pinned key is the same artifact in the same image"


def test_namespaces_of_one_tenant_share_a_build() -> None:
    at = world(tenant("vision", namespaces=("vision", "vision-2")))
    at.files = {"vision/m.yaml": scratch("vision")}
    at.settle()
    at.files["vision/n.yaml"] = scratch("vision-2")
    at.made()
    at.settle()
    assert at.made() == [("m", "train")]


def test_a_run_is_created_as_the_user_of_its_path() -> None:
    at = world(tenant("vision", namespaces=("vision", "mallory"), user="vision"))
    at.files = {"vision/m.yaml": scratch("mallory"), "mallory/m.yaml": scratch("vision")}
    at.files["mallory/m.yaml"] = at.files["mallory/m.yaml"].replace("src", "other")
    at.settle()
    users = {(spec.namespace, spec.user) for spec in at.specs.values()}
    assert users == {("mallory", "vision"), ("vision", None)}, "not of its namespace"


# -- limits --------------------------------------------------------------------------------------


def test_runs_of_a_tenant_are_limited_beside_those_of_all() -> None:
    at = world(mallory=tenant("mallory", limit_runs=2), limit_runs=4)
    for number in range(6):
        name = f"m{number}"
        at.files[f"mallory/{name}.yaml"] = scratch("mallory", name).replace("src", name)
        at.files[f"vision/{name}.yaml"] = scratch("vision", name).replace("src", name)
    at.sync()
    assert (len(live(at, "mallory")), len(live(at, "vision"))) == (2, 2)
    message = at.records[ref("mallory", "m5")].message
    assert "limits.runs of tenant mallory" in message or "limits.runs)" in message
    at.settings = replace(at.settings, limit_runs=0)
    at.sync()
    assert (len(live(at, "mallory")), len(live(at, "vision"))) == (2, 6)
    assert "limits.runs of tenant mallory" in at.records[ref("mallory", "m5")].message


def test_gpus_of_a_tenant_are_limited() -> None:
    at = world(mallory=tenant("mallory", limit_gpus=4))
    for number in range(3):
        for owner in ("mallory", "vision"):
            name = f"m{number}"
            at.files[f"{owner}/{name}.yaml"] = scratch(owner, name, gpus(2))
    at.sync()
    for name in at.live():
        at.succeed(name)
    at.sync()
    assert (len(live(at, "mallory")), len(live(at, "vision"))) == (2, 3)
    assert "limits.gpus of tenant mallory" in at.records[ref("mallory", "m2")].message


def test_a_manifest_that_asks_for_less_frees_nothing_that_runs() -> None:
    at = world(mallory=tenant("mallory", limit_gpus=4))
    at.files["mallory/m.yaml"] = scratch("mallory", more=gpus(4))
    at.sync()
    for name in at.live():
        at.succeed(name)
    at.sync()
    (training,) = live(at, "mallory")
    at.start(training)
    at.files["mallory/m.yaml"] = scratch("mallory", more=gpus(1))
    at.files["mallory/n.yaml"] = scratch("mallory", "n", gpus(3))
    at.sync()
    assert live(at, "mallory") == [training]


# -- holds ---------------------------------------------------------------------------------------

OWN = "mallory/release"
GUARDED = tenant("mallory", guard_tasks=0, guard_gpus=2, releases=(OWN,))
PLACE = Location(OWN, 3, 1)


def flooded(**settings: object) -> World:
    """Both tenants ask for GPUs, mallory for more than its guard."""
    at = world(tenant("vision", releases=("vision/release",)), GUARDED, **settings)
    at.files = {
        "mallory/m.yaml": scratch("mallory", more=gpus(4)),
        "vision/m.yaml": scratch("vision", more=gpus(4)),
    }
    return at


def held(at: World) -> dict[str | None, Hold]:
    return {hold.tenant: hold for hold in at.settle().holds}


def test_what_a_tenants_guard_holds_does_not_hold_others() -> None:
    at = flooded(guard_gpus=6)
    (hold,) = at.settle().holds
    assert (hold.tenant, hold.gpus, *hold.objects) == ("mallory", 4, ref("mallory"))
    assert at.records[ref("vision")].phase is Phase.READY
    message = at.records[ref("mallory")].message
    assert "guard of tenant mallory: 0 tasks made again, 2 GPUs" in message
    assert f"in {OWN} or .reconciler/release" in message


@pytest.mark.parametrize("place", ["own", "every"])
def test_a_tenants_hold_is_released_in_its_own_file_or_in_that_of_all(place: str) -> None:
    at = flooded()
    hold = held(at)["mallory"]
    if place == "own":
        at.tenant_releases = {"mallory": {hold.id: PLACE}}
    else:
        at.released = frozenset({hold.id})
    assert held(at) == {}
    assert at.records[ref("mallory")].phase is Phase.READY


def test_a_tenant_cannot_release_the_hold_of_another() -> None:
    at = flooded()
    hold = held(at)["mallory"]
    at.tenant_releases = {"vision": {hold.id: Location("vision/release", 7, 1)}}
    plan = at.settle()
    assert [each.id for each in plan.holds] == [hold.id]
    (problem,) = plan.refused
    assert (problem.location, problem.field) == (Location("vision/release", 7, 1), hold.id)
    assert problem.message == "the hold is of tenant mallory, and tenant vision cannot release it"


def test_a_tenant_cannot_release_a_hold_over_all() -> None:
    at = flooded(guard_gpus=2)
    at.files["vision/m.yaml"] = scratch("vision", more=gpus(1))
    first = held(at)["mallory"]
    at.tenant_releases = {"mallory": {first.id: PLACE}}
    over_all = held(at)[None]
    assert over_all.objects == {ref("mallory")}, "what was accepted of vision is not counted again"
    at.tenant_releases["mallory"][over_all.id] = replace(PLACE, line=4)
    plan = at.settle()
    assert [hold.id for hold in plan.holds] == [over_all.id]
    assert [problem.location.line for problem in plan.refused] == [4]
    assert "the hold is over all tenants" in plan.refused[0].message
    at.released = frozenset({over_all.id})
    assert held(at) == {}, "the tenant's own line still counts"
    assert at.records[ref("mallory")].phase is Phase.READY


def test_a_tenants_line_releases_once() -> None:
    at = flooded()
    first = held(at)["mallory"]
    at.tenant_releases = {"mallory": {first.id: PLACE}}
    at.settle()
    at.runs.clear()
    for key in list(at.ledger.completed):
        at.ledger.lose(key, at.now)
    assert held(at)["mallory"].id != first.id


def test_removals_of_one_tenant_do_not_wait_for_anothers() -> None:
    at = world(tenant("vision"), GUARDED, prune_floor=1, prune_share=0.5)
    for owner, objects in (("mallory", 4), ("vision", 9)):
        for number in range(objects):
            at.files[f"{owner}/m{number}.yaml"] = scratch(owner, f"m{number}")
    at.settle()
    del at.files["vision/m0.yaml"]
    for number in range(4):
        del at.files[f"mallory/m{number}.yaml"]
    plan = at.sync()
    (hold,) = plan.holds
    assert (hold.kind, hold.tenant, len(hold.objects)) == (HoldKind.PRUNE, "mallory", 4)
    assert plan.removed == {ref("vision", "m0")}
    assert at.records[ref("mallory", "m0")].phase is Phase.HELD
    at.tenant_releases = {"vision": {hold.id: Location("vision/release", 1, 1)}}
    assert at.sync().removed == frozenset()
    at.tenant_releases = {"mallory": {hold.id: PLACE}}
    assert len(at.sync().removed) == 4


def test_a_file_that_cannot_be_read_keeps_its_own_tenants_objects_alone() -> None:
    at = world()
    for owner in ("mallory", "vision"):
        for number in range(3):
            at.files[f"{owner}/m{number}.yaml"] = scratch(owner, f"m{number}")
    at.settle()
    for owner in ("mallory", "vision"):
        del at.files[f"{owner}/m0.yaml"]
    at.tenant_unreadable = {"mallory": "mallory/x.yaml:1:1: no YAML"}
    plan = at.sync()
    assert plan.removed == {ref("vision", "m0")}
    assert plan.kept.keys() == {ref("mallory", "m0")}
