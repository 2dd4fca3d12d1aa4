"""Status: what the daemon knows, as the files it commits."""

from reconciler.status.collection_report import (
    COLLECTION_FILE,
    CollectionEntry,
    CollectionReport,
    CollectionStep,
    WithheldReason,
    dump_collection,
    read_collection,
)
from reconciler.status.encoding import (
    MOST_ERRORS,
    README_FILE,
    SYNC_FILE,
    RefusedHead,
    StatusFormatError,
    Sync,
    dump_record,
    dump_sync,
    load_record,
    load_sync,
    status_document,
)
from reconciler.status.own_branch import (
    BelievedBranch,
    OwnFile,
    read_own_file,
    read_own_sync,
)
from reconciler.status.readme import render_readme
from reconciler.status.remote import read_cluster, read_remote_object, read_used_keys

__all__ = [
    "COLLECTION_FILE",
    "MOST_ERRORS",
    "README_FILE",
    "SYNC_FILE",
    "BelievedBranch",
    "CollectionEntry",
    "CollectionReport",
    "CollectionStep",
    "OwnFile",
    "RefusedHead",
    "StatusFormatError",
    "Sync",
    "WithheldReason",
    "dump_collection",
    "dump_record",
    "dump_sync",
    "load_record",
    "load_sync",
    "read_cluster",
    "read_collection",
    "read_own_file",
    "read_own_sync",
    "read_remote_object",
    "read_used_keys",
    "render_readme",
    "status_document",
]
