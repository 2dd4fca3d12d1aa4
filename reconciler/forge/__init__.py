"""Forges: their pull requests, comments and commit statuses, and their webhooks.

``interface`` is what a forge does; ``github`` does it for GitHub, and for Gitea and Forgejo, which
took over most of its API, and ``gitlab`` for GitLab, both by way of ``rest``. ``registry`` has them
by name. Answers of a forge are input from outside: bounded, and each value checked against its
form. ``webhook`` checks deliveries.
"""

from typing import TYPE_CHECKING

from reconciler.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from reconciler.forge.interface import Comment, Forge, ForgeError, OwnRequest, PullRequest
    from reconciler.forge.registry import forge_of
    from reconciler.forge.webhook import LARGEST_BODY, Deliveries, Delivery, DeliveryResult

_MODULES = {
    "Comment": "interface",
    "Deliveries": "webhook",
    "Delivery": "webhook",
    "DeliveryResult": "webhook",
    "Forge": "interface",
    "ForgeError": "interface",
    "LARGEST_BODY": "webhook",
    "OwnRequest": "interface",
    "PullRequest": "interface",
    "forge_of": "registry",
}
__getattr__ = lazy_exports(__name__, _MODULES)

__all__ = [
    "LARGEST_BODY",
    "Comment",
    "Deliveries",
    "Delivery",
    "DeliveryResult",
    "Forge",
    "ForgeError",
    "OwnRequest",
    "PullRequest",
    "forge_of",
]
