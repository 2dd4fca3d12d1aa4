"""``sync.yaml``: whose branch this is, and which head was last decided upon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.status.document import StatusFormatError, dump_yaml, load_yaml, written
from reconciler.types import API_VERSION, Commit, Location, Problem

SYNC_FILE = "sync.yaml"
README_FILE = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """The state of a sync. ``errors`` are those of head; some belong to no known object."""

    cluster: str
    instance: str
    path: str
    head: Commit
    observed: datetime
    errors: tuple[Problem, ...] = ()

    def same_branch(self, other: Sync) -> bool:
        """Whether both are of one daemon: its cluster, instance and folder of manifests."""
        mine = (self.cluster, self.instance, self.path)
        return mine == (other.cluster, other.instance, other.path)


def dump_sync(sync: Sync) -> bytes:
    """The text of ``sync.yaml``."""
    return dump_yaml(
        {
            "apiVersion": API_VERSION,
            "kind": "Sync",
            "cluster": sync.cluster,
            "instance": sync.instance,
            "path": sync.path,
            "head": sync.head,
            "observed": written(sync.observed),
            "errors": [problem.to_json() for problem in sync.errors],
        }
    )


def load_sync(data: bytes) -> Sync:
    """Read ``sync.yaml``. Raises StatusFormatError."""
    value = load_yaml(SYNC_FILE, data)
    try:
        return Sync(
            cluster=str(value["cluster"]),
            instance=str(value["instance"]),
            path=str(value["path"]),
            head=Commit(value["head"]),
            observed=datetime.fromisoformat(str(value["observed"])),
            errors=_problems(value.get("errors", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StatusFormatError(SYNC_FILE, f"{type(error).__name__} {error}") from error


def _problems(errors: Sequence[dict[str, object]]) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            Location(str(e["file"]), int(str(e["line"])), int(str(e["column"]))),
            str(e["field"]),
            str(e["message"]),
        )
        for e in errors
    )
