"""Git: the manifest repository, the sources, pull requests and the status branch.

Remotes are called with the git command (``transport``, ``command``); objects are read with pygit2.
Names are imported when they are first used: commands that only read a clone, such as ``validate``,
would pay 40 ms for those that call remotes, and commands that read none as much for pygit2.

A pygit2.Repository is not safe to share. A handle, and every object read through it, is used by one
thread at a time and never leaves this package: callers get ids, bytes and paths. Sources and
exports open a handle for each use. ``Mirror`` has a lock, as an export may find it damaged while a
sync reads it. ``StatusBranch``, ``Proposals`` and ``UpdateBranches`` are each called by one task of
the daemon, which waits for its thread. The event loop's thread may open a handle, and does nothing
else with it.
"""

from typing import TYPE_CHECKING

from reconciler.errors import GitError
from reconciler.lazy_exports import lazy_exports
from reconciler.urls import is_local, local_path, normal_url, redact, resolve_url

if TYPE_CHECKING:
    from reconciler.git.command import end_running, run_as_user
    from reconciler.git.copy_lock import alone
    from reconciler.git.credentials import Credential, CredentialTable
    from reconciler.git.errors import NoRepositoryError, unresolved
    from reconciler.git.local_repository import LocalRepository
    from reconciler.git.manifest_mirror import Mirror
    from reconciler.git.pull_request_refs import Conflict, Proposals
    from reconciler.git.recovery import rebuilding
    from reconciler.git.repository import Repository
    from reconciler.git.signatures import MOST_COMMITS, CommitSigner, Signature, SignatureVerifier
    from reconciler.git.sources import Sources
    from reconciler.git.status_branch import StatusBranch
    from reconciler.git.update_branches import ForeignCommitError, UpdateBranches

_MODULES = {
    "MOST_COMMITS": "signatures",
    "CommitSigner": "signatures",
    "Conflict": "pull_request_refs",
    "Credential": "credentials",
    "CredentialTable": "credentials",
    "ForeignCommitError": "update_branches",
    "LocalRepository": "local_repository",
    "Mirror": "manifest_mirror",
    "NoRepositoryError": "errors",
    "Proposals": "pull_request_refs",
    "Repository": "repository",
    "Signature": "signatures",
    "SignatureVerifier": "signatures",
    "Sources": "sources",
    "StatusBranch": "status_branch",
    "UpdateBranches": "update_branches",
    "alone": "copy_lock",
    "end_running": "command",
    "rebuilding": "recovery",
    "run_as_user": "command",
    "unresolved": "errors",
}
__getattr__ = lazy_exports(__name__, _MODULES)


__all__ = [
    "MOST_COMMITS",
    "CommitSigner",
    "Conflict",
    "Credential",
    "CredentialTable",
    "ForeignCommitError",
    "GitError",
    "LocalRepository",
    "Mirror",
    "NoRepositoryError",
    "Proposals",
    "Repository",
    "Signature",
    "SignatureVerifier",
    "Sources",
    "StatusBranch",
    "UpdateBranches",
    "alone",
    "end_running",
    "is_local",
    "local_path",
    "normal_url",
    "rebuilding",
    "redact",
    "resolve_url",
    "run_as_user",
    "unresolved",
]
