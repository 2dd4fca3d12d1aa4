"""``sync.yaml``: a status branch's daemon, and its last planned head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.codec import Codec, CodecError
from reconciler.status.encoding import StatusFormatError, dump_yaml, load_yaml
from reconciler.types import API_VERSION, Commit, Problem

SYNC_FILE = "sync.yaml"
README_FILE = "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """The state of a sync.

    ``errors`` are the problems of the manifests at head; some belong to no known object.
    """

    cluster: str
    instance: str
    path: str
    head: Commit
    observed: datetime
    errors: tuple[Problem, ...] = ()


_SYNC = Codec(Sync)


def dump_sync(sync: Sync) -> bytes:
    """Write the text of ``sync.yaml``."""
    errors = [problem.to_json() for problem in sync.errors]
    tree = _SYNC.dump(replace(sync, errors=()))
    return dump_yaml({"apiVersion": API_VERSION, "kind": "Sync", **tree, "errors": errors})


def load_sync(data: bytes) -> Sync:
    """Read ``sync.yaml``. Raises StatusFormatError."""
    value = load_yaml(SYNC_FILE, data)
    try:
        errors = [{**error, "location": error} for error in value.get("errors", ())]
        return _SYNC.load({**value, "errors": errors})
    except (TypeError, CodecError) as error:
        raise StatusFormatError(SYNC_FILE, str(error)) from error
