"""Status: what the daemon knows, as the files it commits."""

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
from reconciler.status.remote import read_cluster, read_remote_object

__all__ = [
    "MOST_ERRORS",
    "README_FILE",
    "SYNC_FILE",
    "BelievedBranch",
    "OwnFile",
    "RefusedHead",
    "StatusFormatError",
    "Sync",
    "dump_record",
    "dump_sync",
    "load_record",
    "load_sync",
    "read_cluster",
    "read_own_file",
    "read_own_sync",
    "read_remote_object",
    "render_readme",
    "status_document",
]
