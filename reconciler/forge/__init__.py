"""Forges: their pull requests, comments and commit statuses, and their webhooks.

``base`` is the interface; ``github`` implements it for GitHub, and for Gitea and Forgejo, which
took over most of its API, and ``gitlab`` for GitLab, both by way of ``rest``. Answers of a forge
are input from outside: bounded, and each value checked against its form. ``webhook`` checks
deliveries.
"""

from reconciler.forge.base import Comment, Forge, ForgeError, PullRequest
from reconciler.forge.connect import forge_of
from reconciler.forge.webhook import LARGEST_BODY, Deliveries, DeliveryResult

__all__ = [
    "LARGEST_BODY",
    "Comment",
    "Deliveries",
    "DeliveryResult",
    "Forge",
    "ForgeError",
    "PullRequest",
    "forge_of",
]
