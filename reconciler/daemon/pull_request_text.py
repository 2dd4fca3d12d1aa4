"""What a pull request is told: the line of its commit status, and the text of its comment. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.config.model import Setup
from reconciler.git.pull_request_refs import Conflict
from reconciler.review import CommitState, CommitStatus, Review, code, markdown, verdict, verdict_of


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a request; ``matter``: it is worth a comment, where there is none yet."""

    verdict: CommitStatus
    body: str
    matter: bool


def marker_of(setup: Setup) -> str:
    """How a comment of this daemon begins, which a forge does not show."""
    return f"<!-- reconciler plan of cluster {setup.config.cluster} -->"


def same(one: str, other: str) -> bool:
    """Whether both say the same. Forges change ends of lines, and cut them off at the end.

    That a plan is the same on a newer commit of the branch is no reason to edit a hundred comments.
    """
    one, other = (re.sub("Base `[0-9a-f]+`", "", text) for text in (one, other))
    return one.replace("\r\n", "\n").strip() == other.replace("\r\n", "\n").strip()


def words_of(setup: Setup, found: Review | Conflict) -> Words:
    """What to say of a plan, or of a conflict in its place."""
    cluster, branch = setup.config.cluster, setup.config.repository.branch
    if isinstance(found, Conflict):
        told = f"It conflicts with {branch} in {', '.join(found.paths)}"
        paths = ", ".join(code(path, 160) for path in found.paths)
        body = f"### Plan\n\nIt conflicts with {code(branch)} in {paths}; mended, it is planned."
        return Words(verdict(CommitState.FAILURE, told), body, matter=False)
    body = markdown(found).replace("### Plan", f"### Plan for cluster {code(cluster)}", 1)
    matter = bool(found.objects or found.errors or found.holds or found.released)
    return Words(verdict_of(found), body, matter=matter)


def unplannable() -> Words:
    """The reason may tell of this machine, so it stands in the log."""
    told = "It cannot be planned; the daemon's log says why"
    return Words(verdict(CommitState.ERROR, told), f"### Plan\n\n{told}.", matter=False)
