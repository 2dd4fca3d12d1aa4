"""Status files and ``sync.yaml``: their text, and back.

The text outlives this program: fields are only ever added, and an absent field means what it
meant before the field was there. Fields that are as the class has them are left out, so that a
new field of a record needs nothing here.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from ruamel.yaml.cyaml import CSafeDumper
from ruamel.yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import Resolver

from reconciler.codec import Codec, CodecError
from reconciler.errors import ReconcilerError
from reconciler.manifests import TextBounds, read_documents
from reconciler.planner import ObjectStatus
from reconciler.status.own_layout import read_own_layout
from reconciler.types import (
    API_VERSION,
    Commit,
    ExecutionHash,
    ListingDigest,
    Problem,
    ProblemList,
    RequestHash,
    TaskKey,
    TreeId,
)

_HASH = msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")
_OBJECT_ID = msgspec.Meta(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?\Z")
_EXACT = 2**53
#: The form of every value of a type, wherever it stands in a file.
_FORMS: Mapping[Any, msgspec.Meta] = {
    TaskKey: _HASH,
    ExecutionHash: _HASH,
    RequestHash: _HASH,
    Commit: _OBJECT_ID,
    TreeId: _OBJECT_ID,
    ListingDigest: _HASH,
    int: msgspec.Meta(ge=-_EXACT, le=_EXACT),
    float: msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max),
}
_RECORD = Codec(ObjectStatus, names={"since": "lastTransitionTime"}, forms=_FORMS)
#: Of a file. A complete artifact takes some 15 values, and 600 bytes; params are nested as deep as
#: in a manifest, and stand a few levels deeper.
_BOUNDS = TextBounds(nodes=500_000, deepest=80, size=16 << 20)


_STRING = "tag:yaml.org,2002:str"
#: Strings that YAML 1.1 takes for a boolean, or for a number to base 60. The representer quotes
#: all others that either version takes for something else.
_OTHER_IN_YAML_1_1 = re.compile(
    r"(?i:y|n|yes|no|on|off)|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
)


class _Dumper(CSafeDumper):
    """A dumper of documents that YAML 1.1 and 1.2 read alike.

    ``YAML.dump`` makes a class for each document, and leaves 22 KiB to the garbage collector. Its
    nodes take four times as long as the events that come of them, which is a third of what a push
    of 1,000 new files takes.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(
            stream, default_flow_style=False, width=110, encoding="utf-8", allow_unicode=True
        )

    def dump(self, value: Mapping[str, Any]) -> None:
        """Write one document, and free the emitter's buffers."""
        self.open()
        self.emit(DocumentStartEvent(explicit=False))
        self._write(value)
        self.emit(DocumentEndEvent(explicit=False))
        self.close()
        self._emitter = self._serializer = self._representer = None

    def _write(self, value: Any) -> None:
        if isinstance(value, str):
            style, plain = _style(value)
            self.emit(ScalarEvent(None, None, (plain, True), value, style=style))
        elif isinstance(value, Mapping):
            self.emit(MappingStartEvent(None, None, True, flow_style=False))
            for key, inner in value.items():
                self._write(key)
                self._write(inner)
            self.emit(MappingEndEvent())
        elif isinstance(value, (list, tuple)):
            self.emit(SequenceStartEvent(None, None, True, flow_style=False))
            for inner in value:
                self._write(inner)
            self.emit(SequenceEndEvent())
        else:
            node = self.represent_data(value)
            self.emit(ScalarEvent(None, None, (True, False), node.value))

    def represent_float(self, data: float) -> ScalarNode:
        node = super().represent_float(data)
        if "." not in node.value:
            node.value = node.value.replace("e", ".0e", 1)  # 1e-07 is a string in YAML 1.1
        return node


_Dumper.add_representer(float, _Dumper.represent_float)
_resolve = Resolver().resolve


@lru_cache(maxsize=4096)  # of most files, a half of the strings are keys
def _style(text: str) -> tuple[str | None, bool]:
    """Return the style of a string, and if it may stand unquoted."""
    plain = _resolve(ScalarNode, text, (True, False)) == _STRING
    return "'" if _OTHER_IN_YAML_1_1.fullmatch(text) else None, plain


class StatusFormatError(ReconcilerError):
    """A file of the status branch is not what this program wrote."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"{path} on the status branch cannot be read: {why}. It is part of the daemon's "
            f"memory; restore it from the branch's history, or delete it to forget this object"
        )
        self.why = why


def dump_yaml(value: Mapping[str, Any]) -> bytes:
    """Write block-style YAML in the given order of fields.

    It means the same by the rules of YAML 1.1 and of 1.2.
    """
    stream = io.BytesIO()
    _Dumper(stream).dump(value)
    return stream.getvalue()


def load_yaml(path: str, data: bytes) -> dict[str, Any]:
    """Read the mapping in a file of the status branch. Raises StatusFormatError.

    It is bounded as :data:`_BOUNDS` says, and has no aliases that stand for much.
    """
    if (known := read_own_layout(data)) is not None:
        return known
    documents, problems = read_documents(data, path, _BOUNDS)
    if problems or len(documents) != 1:
        why = str(problems[0]) if problems else f"it holds {len(documents)} documents"
        raise StatusFormatError(path, why)
    value = documents[0].value
    if not isinstance(value, dict):
        raise StatusFormatError(path, "it holds no mapping")
    return value


def status_document(record: ObjectStatus) -> dict[str, Any]:
    """Return the content of a record's status file."""
    status = _RECORD.dump(record)
    ref = status.pop("ref")
    if "desired" in status:
        status["desired"] = {"key": status["desired"]}
    if "references" in status:
        status["references"] = [
            {"cluster": target["cluster"], **target["ref"], **reference}
            for reference in status["references"]
            if (target := reference.pop("target"))
        ]
    metadata = {"name": ref["name"], "namespace": ref["namespace"]}
    return {"apiVersion": API_VERSION, "kind": ref["kind"], "metadata": metadata, "status": status}


def dump_record(record: ObjectStatus) -> bytes:
    """Write the status file of a record."""
    return dump_yaml(status_document(record))


def load_record(path: str, data: bytes) -> ObjectStatus:
    """Read the record in a status file. Raises StatusFormatError."""
    return record_of(path, load_yaml(path, data))


def record_of(path: str, document: Mapping[str, Any]) -> ObjectStatus:
    """Return the record of a status file's content. Raises StatusFormatError."""
    try:
        metadata, status = document["metadata"], dict(document["status"])
        status["ref"] = {"kind": document["kind"], **metadata}
        if "desired" in status:
            status["desired"] = (status["desired"] or {}).get("key")
        if "references" in status:
            status["references"] = [
                {"target": {"cluster": reference["cluster"], "ref": reference}, **reference}
                for reference in status["references"] or ()
            ]
        return _RECORD.load(status)
    except KeyError as error:
        raise StatusFormatError(path, f"it has no {error}") from error
    except (TypeError, ValueError, AttributeError, ArithmeticError, CodecError) as error:
        raise StatusFormatError(path, str(error)) from error


SYNC_FILE = "sync.yaml"
README_FILE = "README.md"


#: Errors that the status branch lists: each head may have others, and all of them stay in history.
MOST_ERRORS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedHead:
    """A head that is not in force, as it is not verified."""

    commit: Commit
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """The state of a sync.

    ``errors`` are the problems of the manifests at head, up to :data:`MOST_ERRORS`; some belong to
    no known object. ``errors_omitted`` counts the others. ``releases`` are the ids of holds that
    were released, the oldest first. ``refused`` is the branch's head where ``head`` is an earlier
    commit, the last verified one. ``currency`` is that of all costs in the status files.
    """

    cluster: str
    instance: str
    path: str
    head: Commit
    observed: datetime
    refused: RefusedHead | None = None
    errors: tuple[Problem, ...] = ()
    errors_omitted: int = 0
    releases: tuple[str, ...] = ()
    currency: str = ""


_SYNC = Codec(Sync, forms=_FORMS)
_ERRORS = Codec(ProblemList, omit="nothing", forms=_FORMS)


def dump_sync(sync: Sync) -> bytes:
    """Write the text of ``sync.yaml``."""
    tree = _SYNC.dump(replace(sync, errors=()))
    errors = _ERRORS.dump(ProblemList.of(sync.errors))
    return dump_yaml({"apiVersion": API_VERSION, "kind": "Sync", **tree, **errors})


def load_sync(data: bytes) -> Sync:
    """Read ``sync.yaml``. Raises StatusFormatError."""
    value = load_yaml(SYNC_FILE, data)
    try:
        errors = tuple(entry.problem for entry in _ERRORS.load(value).errors)
        return replace(_SYNC.load({**value, "errors": ()}), errors=errors)
    except (TypeError, ValueError, AttributeError, ArithmeticError, CodecError) as error:
        raise StatusFormatError(SYNC_FILE, str(error)) from error
