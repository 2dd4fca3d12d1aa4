"""Stable names and paths of runs, artifact directories and status files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from reconciler.manifests import NAME
from reconciler.types import ExecutionHash, Kind, ObjectRef, TaskKey, TaskKind
from reconciler.urls import namespace_folder

#: The longest name a run can have, and still be a valid Service name with room for a suffix.
LONGEST = 54
_SHARED_BUILD = "build"
_REMOVED = "removed/"
_NAME = NAME.strip("^$")
_STATUS_PATH = re.compile(
    rf"(?P<namespace>{_NAME})/(?P<kind>{'|'.join(kind.plural for kind in Kind)})"
    rf"/(?:(?P<shard>[0-9a-f]{{2}})/)?(?P<name>{_NAME})\.yaml"
)
_KINDS = {kind.plural: kind for kind in Kind}


def run_name(
    *,
    instance: str,
    namespace: str,
    ref: ObjectRef | None,
    task: TaskKind,
    key: TaskKey,
    execution_hash: ExecutionHash,
) -> str:
    """Return the name of a run.

    ``r-<name, cut to 24>-<b|l|t|e>-<12 hex of instance, namespace and key>-<6 hex>``; the last are
    of the execution hash.

    ``ref`` is None for a build, which several objects share. The namespace is hashed in so that
    an engine with one flat list of names can hold equal builds of two namespaces.
    """
    name = _SHARED_BUILD if ref is None else ref.name[:24].rstrip("-")
    digest = hashlib.sha256(f"{instance}/{namespace}/{key}".encode()).hexdigest()
    return f"r-{name}-{task.letter}-{digest[:12]}-{execution_hash[:6]}"


def artifact_url(*, bucket: str, cluster: str, ref: ObjectRef, key: TaskKey) -> str:
    """The artifact directory of a key, ending in ``/``."""
    folder = namespace_folder(bucket.rstrip("/"), cluster, ref.namespace)
    return f"{folder}/{ref.kind.plural}/{ref.name}/{key}/"


def evaluation_url(*, bucket: str, cluster: str, ref: ObjectRef, key: TaskKey) -> str:
    """The directory of an evaluation's results, beside those of artifacts."""
    folder = namespace_folder(bucket.rstrip("/"), cluster, ref.namespace)
    return f"{folder}/{ref.kind.plural}/{ref.name}/evaluations/{key}/"


def status_path(ref: ObjectRef) -> str:
    """An object's file on the status branch, in a folder without shards."""
    return f"{ref.namespace}/{ref.kind.plural}/{ref.name}.yaml"


def sharded_path(path: str) -> str:
    """Return the path of an object's file in a folder with shards.

    A shard is a folder named by two hex digits, the first ones of the SHA-256 of the object's name.
    """
    folder, _, file = path.rpartition("/")
    return f"{folder}/{_shard(file.removesuffix('.yaml'))}/{file}"


def _shard(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:2]


def removed_path(ref: ObjectRef) -> str:
    """Return the path of an object's file after its manifest is removed."""
    return f"{_REMOVED}{status_path(ref)}"


def object_of_path(path: str) -> ObjectRef | None:
    """Return the object of a file on the status branch.

    It may be a removed one, and in a shard. The branch may contain other files too; they have none.
    A namespace may be called ``removed``.
    """
    found = _match(path.removeprefix(_REMOVED)) or _match(path)
    return ObjectRef(_KINDS[found["kind"]], found["namespace"], found["name"]) if found else None


def is_removed_path(path: str) -> bool:
    """Return True if a file is that of a removed object."""
    return path.startswith(_REMOVED) and _match(path.removeprefix(_REMOVED)) is not None


def _match(path: str) -> re.Match[str] | None:
    """Match a file's path; None also for one in another name's shard."""
    found = _STATUS_PATH.fullmatch(path)
    if found is None or found["shard"] not in (None, _shard(found["name"])):
        return None
    return found


_LABEL_UNSAFE = re.compile(r"[^-A-Za-z0-9_.]+")


def label_value(text: str) -> str:
    """Convert text to a Kubernetes label value of at most 63 characters."""
    return _LABEL_UNSAFE.sub("-", text)[:63].strip("-_.")


def hold_id(actions: Iterable[str]) -> str:
    """12 hex digits over the sorted actions."""
    return hashlib.sha256("\n".join(sorted(actions)).encode()).hexdigest()[:12]
