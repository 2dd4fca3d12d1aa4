"""Status: what the daemon knows, as the files it commits."""

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.status.collection_report import (
        COLLECTION_FILE,
        CollectionEntry,
        CollectionReport,
        CollectionStep,
        WithheldReason,
        dump_collection,
        read_collection,
    )
    from reconciler.status.collection_text import (
        MOST_LINES,
        SIGN,
        collection_markdown,
        collection_summary,
        of_objects,
        shown_doubt,
        shown_entry,
        shown_step,
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
    from reconciler.status.readme import Readme
    from reconciler.status.remote import read_cluster, read_remote_object, read_used_keys
    from reconciler.status.shards import Shards

_MODULES = {
    "COLLECTION_FILE": "collection_report",
    "CollectionEntry": "collection_report",
    "CollectionReport": "collection_report",
    "CollectionStep": "collection_report",
    "WithheldReason": "collection_report",
    "MOST_LINES": "collection_text",
    "SIGN": "collection_text",
    "collection_markdown": "collection_text",
    "collection_summary": "collection_text",
    "of_objects": "collection_text",
    "shown_doubt": "collection_text",
    "shown_entry": "collection_text",
    "shown_step": "collection_text",
    "dump_collection": "collection_report",
    "read_collection": "collection_report",
    "read_used_keys": "remote",
    "BelievedBranch": "own_branch",
    "MOST_ERRORS": "encoding",
    "OwnFile": "own_branch",
    "README_FILE": "encoding",
    "RefusedHead": "encoding",
    "SYNC_FILE": "encoding",
    "StatusFormatError": "encoding",
    "Shards": "shards",
    "Sync": "encoding",
    "dump_record": "encoding",
    "dump_sync": "encoding",
    "load_record": "encoding",
    "load_sync": "encoding",
    "read_cluster": "remote",
    "read_own_file": "own_branch",
    "read_own_sync": "own_branch",
    "read_remote_object": "remote",
    "Readme": "readme",
    "status_document": "encoding",
}
__getattr__ = lazy_exports(__name__, _MODULES)

__all__ = [
    "COLLECTION_FILE",
    "MOST_ERRORS",
    "MOST_LINES",
    "README_FILE",
    "SIGN",
    "SYNC_FILE",
    "BelievedBranch",
    "CollectionEntry",
    "CollectionReport",
    "CollectionStep",
    "OwnFile",
    "Readme",
    "RefusedHead",
    "Shards",
    "StatusFormatError",
    "Sync",
    "WithheldReason",
    "collection_markdown",
    "collection_summary",
    "dump_collection",
    "dump_record",
    "dump_sync",
    "load_record",
    "load_sync",
    "of_objects",
    "read_cluster",
    "read_collection",
    "read_own_file",
    "read_own_sync",
    "read_remote_object",
    "read_used_keys",
    "shown_doubt",
    "shown_entry",
    "shown_step",
    "status_document",
]
