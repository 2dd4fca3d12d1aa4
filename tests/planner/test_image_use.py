"""Images that objects need, by their status."""

from __future__ import annotations

from reconciler.planner import all_images_in_use, images_in_use
from reconciler.planner.object_status import ArtifactStatus, ObjectStatus, TaskStatus
from reconciler.planner.phases import Phase, TaskPhase
from reconciler.types import Kind, ObjectRef, TaskKey, TaskKind


def test_an_object_needs_its_builds_and_the_images_of_its_task_and_artifact() -> None:
    build, train = (
        TaskStatus(task=task, key=TaskKey(key), run_key=TaskKey(run), phase=TaskPhase.RUNNING)
        for task, key, run in ((TaskKind.BUILD, "b2", "b1"), (TaskKind.TRAIN, "t2", "t1"))
    )
    artifact = ArtifactStatus(
        url="file:///a", key=TaskKey("t0"), image="file:///i0", image_key="b0"
    )
    ref = ObjectRef(Kind.MODEL, "default", "a")
    record = ObjectStatus(
        ref=ref, phase=Phase.BUILDING, image="file:///i2", artifact=artifact, tasks=(build, train)
    )
    needed = {"b0", "b1", "b2", "file:///i0", "file:///i2"}
    assert images_in_use(record) == needed
    other = ObjectStatus(ref=ref, phase=Phase.READY, image="file:///i3")
    assert all_images_in_use([record, other]) == needed | {"file:///i3"}
    assert all_images_in_use([]) == frozenset()
