"""Tenants by the path in a commit: neither a link nor another folder's file changes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.git import Repository
from reconciler.planner import PlanCache
from reconciler.planner.object_status import ManifestStatus, ObjectStatus
from reconciler.planner.phases import Phase
from reconciler.types import Commit, Kind, ObjectRef
from reconciler.workspace import CommitReader, CommitSnapshot
from tests.git.history import Content, History, Link
from tests.git.remotes import make_bare
from tests.tenants.site import ADMISSION, FILES, MALLORY, TENANTS, VISION

DETECTOR = ObjectRef(Kind.MODEL, "vision", "detector")
OWN = ObjectRef(Kind.MODEL, "mallory", "own")
FOLDERS: dict[str, Content] = {"mallory/src/Dockerfile": "", "vision/src/Dockerfile": ""}
SITE: dict[str, Content] = {**FILES, **FOLDERS}


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(make_bare(tmp_path))


def reader(history: History, *, root: str = "") -> CommitReader:
    tenancy = replace(ADMISSION.tenancy, tenants=replace(TENANTS, root=root))
    return CommitReader(
        Repository(history.repository),
        path=root,
        namespace="default",
        clusters={"staging"},
        admission=replace(ADMISSION, tenancy=tenancy),
    )


def read(
    history: History, files: dict[str, Content], cache: PlanCache | None = None
) -> CommitSnapshot:
    return reader(history).read(history.commit(files), cache or PlanCache())


def problems(snapshot: CommitSnapshot) -> list[str]:
    return [str(problem) for problem in snapshot.collection.problems]


def test_what_the_tenants_have_is_valid(history: History) -> None:
    snapshot = read(history, SITE)
    assert problems(snapshot) == []
    assert {DETECTOR, OWN} <= snapshot.collection.objects.keys()


def test_paths_are_below_the_folder_of_the_manifests(history: History) -> None:
    files = {f"prod/{path}": text for path, text in SITE.items()}
    text = str(FILES["mallory/own.yaml"]).replace("path: mallory/src", "path: prod/mallory/src")
    files["prod/mallory/own.yaml"] = text
    files["mallory/own.yaml"] = text
    snapshot = reader(history, root="prod").read(history.commit(files), PlanCache())
    assert problems(snapshot) == []
    assert len(snapshot.collection.objects) == len(read(history, SITE).collection.objects)


@pytest.mark.parametrize(
    "link",
    [
        {"vision/attack.yaml": Link("../mallory/attack.txt")},
        {"vision/attack": Link("../mallory")},
        {"mallory/attack.yaml": Link("../vision/detector.yaml")},
    ],
    ids=["a file", "a folder", "a file of another"],
)
def test_a_link_brings_no_manifest(history: History, link: dict[str, Content]) -> None:
    claim = FILES["vision/detector.yaml"].replace("name: detector", "name: attack")
    snapshot = read(history, {**SITE, "mallory/attack.txt": claim, **link})
    assert problems(snapshot) == []
    assert snapshot.collection.objects.keys() == read(history, SITE).collection.objects.keys()


def test_a_link_is_no_folder_to_build(history: History) -> None:
    text = FILES["mallory/own.yaml"].replace("mallory/src", "mallory/link")
    files = {**SITE, "mallory/own.yaml": text, "mallory/link": Link("../vision/src")}
    (problem,) = problems(read(history, files))
    assert problem.startswith("mallory/own.yaml:4:")
    assert 'there is no folder "mallory/link"' in problem


def test_a_file_that_cannot_be_read_is_its_tenants_alone(history: History) -> None:
    snapshot = read(history, {**SITE, "mallory/x.yaml": "kind: Model\n  metadata: {}\n"})
    assert snapshot.unreadable is None
    assert snapshot.tenant_unreadable.keys() == {"mallory"}


def test_a_file_of_no_tenant_keeps_nothing(history: History) -> None:
    snapshot = read(history, {**SITE, "x.yaml": "kind: Model\n  metadata: {}\n"})
    assert snapshot.unreadable is None
    assert snapshot.tenant_unreadable == {}
    (problem,) = problems(snapshot)
    assert problem.startswith("x.yaml:2:")


def test_an_ignore_file_of_a_tenant_ignores_nothing(history: History) -> None:
    snapshot = read(history, {**SITE, "mallory/.reconcilerignore": "/vision\n../vision\n*\n"})
    assert snapshot.collection.objects.keys() == read(history, SITE).collection.objects.keys()


def test_a_changed_file_is_held_to_the_same_as_a_new_one(history: History) -> None:
    cache = PlanCache()
    assert problems(read(history, SITE, cache)) == []
    claim = FILES["mallory/own.yaml"].replace("name: mallory-token", "name: hf")
    (problem,) = problems(read(history, {**SITE, "mallory/own.yaml": claim}, cache))
    assert 'the Secret "hf" is not in secrets of tenant mallory' in problem
    moved = FILES["mallory/own.yaml"].replace("namespace: mallory}", "namespace: vision}")
    found = read(history, {**SITE, "mallory/own.yaml": moved}, cache)
    assert 'namespace "vision" is not one of tenant mallory' in problems(found)[0]


def record(ref: ObjectRef, path: str, commit: Commit) -> ObjectStatus:
    manifest = ManifestStatus(path=path, commit=commit, digest="x")
    return ObjectStatus(ref=ref, phase=Phase.READY, manifest=manifest)


def test_a_claim_leaves_the_object_in_its_present_form(history: History) -> None:
    good = history.commit(SITE)
    claim = FILES["vision/detector.yaml"].replace("photos", "others")
    bad = history.commit({**SITE, "mallory/own.yaml": claim})
    at, cache = reader(history), PlanCache()
    records = {
        DETECTOR: record(DETECTOR, "vision/detector.yaml", good),
        OWN: record(OWN, "mallory/own.yaml", good),
    }
    found = at.effective(at.read(bad, cache), records, cache)
    assert DETECTOR not in found.problems
    assert found.manifests[DETECTOR].file == "vision/detector.yaml"
    assert found.problems[OWN].location.file == "mallory/own.yaml", "it was in that file"
    assert found.manifests[OWN].digest == at.read(good, cache).collection.objects[OWN].digest


def test_a_last_good_form_that_its_tenant_may_not_use_any_more_is_not_used(
    history: History,
) -> None:
    good = history.commit(SITE)
    broken = FILES["vision/detector.yaml"].replace("training:", "trainin:")
    bad = history.commit({**SITE, "vision/detector.yaml": broken})
    less = replace(TENANTS, members=(replace(VISION, secrets=()), *TENANTS.members[1:]))
    tenancy = replace(ADMISSION.tenancy, tenants=less)
    at = CommitReader(
        Repository(history.repository),
        path="",
        namespace="default",
        clusters=(),
        admission=replace(ADMISSION, tenancy=tenancy),
    )
    records = {DETECTOR: record(DETECTOR, "vision/detector.yaml", good)}
    cache = PlanCache()
    found = at.effective(at.read(bad, cache), records, cache)
    assert DETECTOR in found.problems
    assert DETECTOR not in found.manifests


def test_release_lines_stand_in_the_tenants_own_files(history: History) -> None:
    members = (VISION, replace(MALLORY, releases=("mallory/release", "mallory/link")))
    tenancy = replace(ADMISSION.tenancy, tenants=replace(TENANTS, members=members))
    at = CommitReader(
        Repository(history.repository),
        path="",
        namespace="default",
        clusters=(),
        admission=replace(ADMISSION, tenancy=tenancy),
    )
    commit = history.commit(
        {
            ".reconciler/release": "000000000000\n",
            "mallory/release": "# mine\n111111111111  # seen\n",
            "vision/release": "222222222222\n",
            "mallory/link": Link("../vision/release"),
        }
    )
    snapshot = at.read(commit, PlanCache())
    assert snapshot.released == {"000000000000"}
    (lines,) = snapshot.tenant_releases.values()
    assert [(key, str(place)) for key, place in lines.items()] == [
        ("111111111111", "mallory/release:2:1")
    ]


def test_a_refused_reference_makes_no_cycle_of_anothers_objects(history: History) -> None:
    """What vision uses of shared cannot be made invalid by a reference back."""
    back = "{source: {model: {name: detector, namespace: vision}}, training: {}}"
    text = f"kind: Model\nmetadata: {{name: base, namespace: shared}}\nspec: {back}\n"
    snapshot = read(history, {**SITE, "shared/base.yaml": text})
    (problem,) = problems(snapshot)
    assert problem.startswith("shared/base.yaml:3:")
    assert DETECTOR in snapshot.collection.objects
