"""Forges: their pull requests, comments and commit statuses, and their webhooks.

``base`` is the interface; ``github`` implements it for GitHub, and for Gitea and Forgejo, which
took over most of its API, and ``gitlab`` for GitLab, both by way of ``rest``. Answers of a forge
are input from outside: bounded, and each value checked against its form. ``webhook`` checks
deliveries.
"""

from pathlib import Path

from reconciler.config import ForgeSite, ReviewSection, Setup
from reconciler.errors import Trouble
from reconciler.forge.base import Comment, Forge, ForgeError, PullRequest
from reconciler.forge.github import GITEA, GITHUB, GitHub
from reconciler.forge.gitlab import GitLab
from reconciler.forge.webhook import LARGEST_BODY, Deliveries, DeliveryResult
from reconciler.http_client import Client

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


def forge_of(setup: Setup, section: ReviewSection, site: ForgeSite, caller: Client) -> Forge:
    """Return the configured forge.

    Its token is read from the file at each request. Its calls raise ForgeError.
    """
    file, context = setup.file(section.token_file), f"reconciler/{setup.config.cluster}"

    def token() -> str:
        return _token(file)

    if section.forge == "gitlab":
        return GitLab(caller, site.api, site.repository, token, context=context)
    dialect = GITHUB if section.forge == "github" else GITEA
    return GitHub(caller, site.api, site.repository, token, context=context, dialect=dialect)


def _token(file: Path) -> str:
    """Read a token that is fit for a header. Raises ForgeError."""
    try:
        token = file.read_bytes()[:4096].strip().decode("ascii")
    except (OSError, ValueError) as error:
        raise ForgeError(f"{file} cannot be read", Trouble.REFUSED) from error
    if not token or not token.isprintable() or " " in token:
        raise ForgeError(f"{file} does not hold a token", Trouble.REFUSED)
    return token
