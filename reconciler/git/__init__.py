"""Git: the manifest repository, the sources, pull requests and the status branch.

Remotes are called with the git command (``transport``, ``command``); objects are read with pygit2.
Names that call remotes are imported when they are first used: commands that only read a clone, such
as ``validate``, would pay 40 ms for them at each start.
"""

from typing import TYPE_CHECKING

from reconciler.git.errors import GitError, redact
from reconciler.git.repository import LocalRepository, Repository
from reconciler.git.url import is_local, local_path, normal_url, resolve_url
from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.git.command import end_running
    from reconciler.git.credentials import Credential, CredentialTable
    from reconciler.git.manifest_mirror import Mirror
    from reconciler.git.pull_request_refs import Conflict, Proposals
    from reconciler.git.recovery import rebuilding
    from reconciler.git.sources import Sources
    from reconciler.git.status_branch import StatusBranch

_MODULES = {
    "Conflict": "pull_request_refs",
    "Credential": "credentials",
    "CredentialTable": "credentials",
    "Mirror": "manifest_mirror",
    "Proposals": "pull_request_refs",
    "Sources": "sources",
    "StatusBranch": "status_branch",
    "end_running": "command",
    "rebuilding": "recovery",
}
__getattr__ = lazy_exports(__name__, _MODULES)


__all__ = [
    "Conflict",
    "Credential",
    "CredentialTable",
    "GitError",
    "LocalRepository",
    "Mirror",
    "Proposals",
    "Repository",
    "Sources",
    "StatusBranch",
    "end_running",
    "is_local",
    "local_path",
    "normal_url",
    "rebuilding",
    "redact",
    "resolve_url",
]
