"""A record as the text of its status file, and back.

The text outlives this program: fields are only ever added, and an absent field means what it
meant before the field was there. Empty fields are left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from reconciler.engine import FailureClass
from reconciler.errors import ReconcilerError
from reconciler.manifests.yaml import read_documents
from reconciler.planner import (
    ArtifactStatus,
    Condition,
    HistoryEntry,
    ManifestStatus,
    ObjectStatus,
    Phase,
    ReferenceStatus,
    SourceStatus,
    TaskPhase,
    TaskStatus,
)
from reconciler.types import (
    API_VERSION,
    Commit,
    ForeignRef,
    How,
    Intent,
    Kind,
    ObjectRef,
    TaskKey,
    TaskKind,
    TreeId,
)


class StatusFormatError(ReconcilerError):
    """A file of the status branch is not what this program wrote."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{path} on the status branch cannot be read: {why}. It is part of the daemon's "
            f"memory; restore it from the branch's history, or delete it to forget this object"
        )


def dump_yaml(value: Mapping[str, Any]) -> bytes:
    """Block-style YAML in the given order of fields."""
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    yaml.allow_unicode = True
    stream = io.BytesIO()
    yaml.dump(dict(value), stream)
    return stream.getvalue()


def load_yaml(path: str, data: bytes) -> dict[str, Any]:
    """The mapping in a file of the status branch. Raises StatusFormatError.

    The manifests' reader is four times as fast as ruamel.yaml's loader, but it is bounded: a
    history of many thousands is left to the loader.
    """
    documents, problems = read_documents(data, path)
    if len(documents) == 1 and not problems:
        value = documents[0].value
    else:
        try:
            value = YAML(typ="safe").load(data)
        except YAMLError as error:
            raise StatusFormatError(path, str(error).splitlines()[0]) from error
    if not isinstance(value, dict):
        raise StatusFormatError(path, "it holds no mapping")
    return value


def dump_record(record: ObjectStatus) -> bytes:
    """The status file of a record."""
    return dump_yaml(
        {
            "apiVersion": API_VERSION,
            "kind": record.ref.kind.value,
            "metadata": {"name": record.ref.name, "namespace": record.ref.namespace},
            "status": _filled(
                phase=record.phase.value,
                reason=record.reason,
                message=record.message,
                hold=record.hold,
                manifest=_manifest(record.manifest),
                source=_source(record.source),
                references=[_reference(reference) for reference in record.references],
                image=record.image,
                artifact=_artifact(record.artifact),
                desired=_filled(key=record.desired),
                conditions=[_condition(condition) for condition in record.conditions],
                tasks=[_task(task) for task in record.tasks],
                history=[_entry(entry) for entry in record.history],
            ),
        }
    )


def load_record(path: str, data: bytes) -> ObjectStatus:
    """The record in a status file. Raises StatusFormatError."""
    value = load_yaml(path, data)
    try:
        return _record(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StatusFormatError(path, f"{type(error).__name__} {error}") from error


# -- writing -------------------------------------------------------------------------------


def _filled(**fields: Any) -> dict[str, Any]:
    return {
        name.rstrip("_"): value
        for name, value in fields.items()
        if value is not None and value not in ("", {}, [], ())
    }


def _manifest(manifest: ManifestStatus | None) -> dict[str, Any]:
    if manifest is None:
        return {}
    return _filled(
        path=manifest.path,
        commit=manifest.commit,
        digest=manifest.digest,
        protected=manifest.protected or None,
    )


def _source(source: SourceStatus | None) -> dict[str, Any]:
    if source is None:
        return {}
    return {"url": source.url, "commit": source.commit, "tree": source.tree, "pin": source.pin}


def _artifact(artifact: ArtifactStatus | None) -> dict[str, Any]:
    if artifact is None:
        return {}
    return _filled(
        url=artifact.url,
        key=artifact.key,
        image=artifact.image,
        imageKey=artifact.image_key,
        metrics=dict(artifact.metrics),
    )


def _reference(reference: ReferenceStatus) -> dict[str, Any]:
    target = reference.target
    return _filled(
        cluster=target.cluster,
        kind=target.ref.kind.value,
        namespace=target.ref.namespace,
        name=target.ref.name,
        key=reference.key,
        url=reference.url,
        image=reference.image,
        imageKey=reference.image_key,
    )


def _condition(condition: Condition) -> dict[str, Any]:
    return _filled(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        message=condition.message,
        lastTransitionTime=written(condition.since),
    )


def _task(task: TaskStatus) -> dict[str, Any]:
    return _filled(
        task=task.task.value,
        key=task.key,
        how=task.how,
        intent=task.intent,
        phase=task.phase.value,
        job=task.job,
        attempts=task.attempts or None,
        failures=task.failures or None,
        failure=task.failure.value if task.failure else None,
        started=written(task.started),
        finished=written(task.finished),
        reason=task.reason,
        message=task.message,
        log=task.log,
    )


def _entry(entry: HistoryEntry) -> dict[str, Any]:
    return _filled(
        task=entry.task.value,
        key=entry.key,
        how=entry.how,
        commit=entry.commit,
        finished=written(entry.finished),
        phase=entry.phase.value,
        params=dict(entry.params),
        metrics=dict(entry.metrics),
        gpuSeconds=entry.gpu_seconds or None,
        artifact=entry.artifact,
        image=entry.image,
        imageKey=entry.image_key,
        reason=entry.reason,
        message=entry.message,
    )


def written(time: datetime | None) -> str | None:
    """A time as it stands in a status file: UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time is not None else None


# -- reading -------------------------------------------------------------------------------


def _record(value: dict[str, Any]) -> ObjectStatus:
    metadata, status = value["metadata"], value["status"]
    ref = ObjectRef(Kind(value["kind"]), str(metadata["namespace"]), str(metadata["name"]))
    desired = status.get("desired", {}).get("key")
    return ObjectStatus(
        ref=ref,
        phase=Phase(status["phase"]),
        reason=str(status.get("reason", "")),
        message=str(status.get("message", "")),
        hold=status.get("hold"),
        manifest=_read_manifest(status.get("manifest")),
        source=_read_source(status.get("source")),
        references=tuple(map(_read_reference, _items(status, "references"))),
        image=status.get("image"),
        artifact=_read_artifact(status.get("artifact")),
        desired=TaskKey(_text(desired)) if desired else None,
        conditions=tuple(map(_read_condition, _items(status, "conditions"))),
        tasks=tuple(map(_read_task, _items(status, "tasks"))),
        history=tuple(map(_read_entry, _items(status, "history"))),
    )


def _items(status: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    yield from status.get(name, ())


def _read_manifest(value: dict[str, Any] | None) -> ManifestStatus | None:
    if value is None:
        return None
    return ManifestStatus(
        path=str(value["path"]),
        commit=Commit(_text(value["commit"])),
        digest=str(value.get("digest", "")),
        protected=bool(value.get("protected", False)),
    )


def _read_source(value: dict[str, Any] | None) -> SourceStatus | None:
    if value is None:
        return None
    return SourceStatus(
        url=str(value["url"]),
        commit=Commit(_text(value["commit"])),
        tree=TreeId(_text(value["tree"])),
        pin=str(value["pin"]),
    )


def _read_artifact(value: dict[str, Any] | None) -> ArtifactStatus | None:
    if value is None:
        return None
    return ArtifactStatus(
        url=str(value["url"]),
        key=TaskKey(_text(value["key"])),
        image=value.get("image"),
        image_key=value.get("imageKey"),
        metrics=dict(value.get("metrics", {})),
    )


def _read_reference(value: dict[str, Any]) -> ReferenceStatus:
    ref = ObjectRef(Kind(value["kind"]), str(value["namespace"]), str(value["name"]))
    return ReferenceStatus(
        target=ForeignRef(str(value["cluster"]), ref),
        key=TaskKey(_text(value["key"])),
        url=str(value["url"]),
        image=value.get("image"),
        image_key=value.get("imageKey"),
    )


def _read_condition(value: dict[str, Any]) -> Condition:
    since = _read_time(value["lastTransitionTime"])
    if since is None:
        raise ValueError("lastTransitionTime is empty")
    return Condition(
        type=_text(value["type"]),
        status=_text(value["status"]),
        reason=value.get("reason", ""),
        message=value.get("message", ""),
        since=since,
    )


def _read_task(value: dict[str, Any]) -> TaskStatus:
    key, how, intent = value.get("key"), value.get("how"), value.get("intent")
    failure = value.get("failure")
    return TaskStatus(
        task=TaskKind(value["task"]),
        phase=TaskPhase(value["phase"]),
        key=TaskKey(_text(key)) if key else None,
        how=How(_text(how)) if how else None,
        intent=Intent(_text(intent)) if intent else None,
        job=value.get("job"),
        attempts=int(value.get("attempts", 0)),
        failures=int(value.get("failures", 0)),
        failure=FailureClass(failure) if failure else None,
        started=_read_time(value.get("started")),
        finished=_read_time(value.get("finished")),
        reason=str(value.get("reason", "")),
        message=str(value.get("message", "")),
        log=value.get("log"),
    )


def _read_entry(value: dict[str, Any]) -> HistoryEntry:
    how, commit = value.get("how"), value.get("commit")
    return HistoryEntry(
        task=TaskKind(value["task"]),
        key=TaskKey(_text(value["key"])),
        phase=TaskPhase(value["phase"]),
        how=How(_text(how)) if how else None,
        commit=Commit(_text(commit)) if commit else None,
        finished=_read_time(value.get("finished")),
        params=dict(value.get("params", {})),
        metrics=dict(value.get("metrics", {})),
        gpu_seconds=float(value.get("gpuSeconds", 0.0)),
        artifact=value.get("artifact"),
        image=value.get("image"),
        image_key=value.get("imageKey"),
        reason=str(value.get("reason", "")),
        message=str(value.get("message", "")),
    )


def _text(value: object) -> str:
    """A name or an id, which somebody's edit may have made into anything."""
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {str(value)[:80]}")
    return value


def _read_time(text: str | datetime | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text) if isinstance(text, str) else text
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
