"""Commits of the manifest repository, from reading to a plan.

The exported names are imported at their first use: a command that only reads the status branch
does not load the planner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.workspace.commit_planner import (
        CommitPlanner,
        PlannedCommit,
        PlanState,
        RemoteReader,
        ResolvedCommit,
    )
    from reconciler.workspace.commit_reader import CommitReader, CommitSnapshot, EffectiveObjects
    from reconciler.workspace.commit_subjects import CommitSubjects
    from reconciler.workspace.git_setup import (
        credential_table,
        git_folder,
        head_verification,
        source_reader,
        status_branch,
        update_branches,
    )
    from reconciler.workspace.remote_clusters import RemoteStatusReader
    from reconciler.workspace.signature_setup import believed_status
    from reconciler.workspace.source_resolver import (
        GitResolutions,
        Requests,
        SourceResolver,
        remote_sources,
    )
    from reconciler.workspace.verified_head import HeadVerification, RefusedCommit, VerifiedHead

__all__ = [
    "CommitPlanner",
    "CommitReader",
    "CommitSnapshot",
    "CommitSubjects",
    "EffectiveObjects",
    "GitResolutions",
    "HeadVerification",
    "PlanState",
    "PlannedCommit",
    "RefusedCommit",
    "RemoteReader",
    "RemoteStatusReader",
    "Requests",
    "ResolvedCommit",
    "SourceResolver",
    "VerifiedHead",
    "believed_status",
    "credential_table",
    "git_folder",
    "head_verification",
    "remote_sources",
    "source_reader",
    "status_branch",
    "update_branches",
]

_MODULES = {
    "commit_subjects": ("CommitSubjects",),
    "commit_planner": (
        "CommitPlanner",
        "PlanState",
        "PlannedCommit",
        "RemoteReader",
        "ResolvedCommit",
    ),
    "commit_reader": ("CommitReader", "CommitSnapshot", "EffectiveObjects"),
    "signature_setup": ("believed_status",),
    "git_setup": (
        "credential_table",
        "git_folder",
        "head_verification",
        "source_reader",
        "status_branch",
        "update_branches",
    ),
    "remote_clusters": ("RemoteStatusReader",),
    "source_resolver": (
        "Requests",
        "GitResolutions",
        "SourceResolver",
        "remote_sources",
    ),
    "verified_head": ("HeadVerification", "RefusedCommit", "VerifiedHead"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__getattr__ = lazy_exports(__name__, _MODULE_OF)
