"""Artifacts of local tries, among the recorded ones of an object."""

from __future__ import annotations

from dataclasses import replace

from reconciler.config import Setup
from reconciler.engines.local import find_tries, path_of
from reconciler.planner import HistoryEntry, ObjectStatus, TaskPhase, artifact_url
from reconciler.types import TaskKey


def with_tries(record: ObjectStatus, setup: Setup | None) -> tuple[ObjectStatus, set[TaskKey]]:
    """Add the artifacts of tries to an object's history, with their keys.

    They are looked for beside its artifacts, on the disk of the local engine.
    """
    if setup is None or setup.config.engine != "local":
        return record, set()
    url = artifact_url(
        bucket=setup.settings.buckets[record.ref.kind],
        cluster=setup.config.cluster,
        ref=record.ref,
        key=TaskKey("x"),
    )
    path = path_of(url)
    if path is None:
        return record, set()
    known = {entry.key for entry in record.history}
    entries = [
        HistoryEntry(
            task=found.task,
            key=found.key,
            finished=found.finished,
            phase=TaskPhase.SUCCEEDED,
            params=found.params,
            metrics=found.metrics,
            seconds=found.seconds,
            gpu_seconds=found.gpu_seconds,
            artifact=f"{found.path.as_uri()}/",
            image_key=found.image_key,
            source=found.source,
        )
        for found in find_tries(path.parent, known)
    ]
    if not entries:
        return record, set()
    return replace(record, history=(*record.history, *entries)), {each.key for each in entries}
