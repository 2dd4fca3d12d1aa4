"""Local tries, among the recorded artifacts and runs of an object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.config import Setup
from reconciler.engines.local import find_failed_tries, find_tries, path_of
from reconciler.planner import HistoryEntry, ObjectStatus, TaskPhase, artifact_url
from reconciler.types import ObjectRef, TaskKey


def tries_of(
    records: Mapping[ObjectRef, ObjectStatus],
    setup: Setup | None,
    *,
    name: str,
    failed: bool = False,
) -> dict[ObjectRef, ObjectStatus]:
    """Return the records of a name's objects, with their tries.

    Those without any are left out.

    A name that none of them has may be the key of a try of any. With ``failed``, those that have
    left no artifact are among them.
    """
    named = {ref: record for ref, record in records.items() if ref.name == name}
    found = {
        ref: with_tries(record, setup, failed=failed) for ref, record in (named or records).items()
    }
    return {ref: record for ref, (record, keys) in found.items() if keys}


def with_tries(
    record: ObjectStatus, setup: Setup | None, *, failed: bool = False
) -> tuple[ObjectStatus, set[TaskKey]]:
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
    if failed:
        entries += [
            HistoryEntry(
                task=found.task, key=found.key, finished=found.ended, phase=TaskPhase.FAILED
            )
            for found in find_failed_tries(path.parent, known)
        ]
    if not entries:
        return record, set()
    return replace(record, history=(*record.history, *entries)), {each.key for each in entries}
