"""Connection to the configured forge, with its token."""

from __future__ import annotations

from pathlib import Path

from reconciler.config import ForgeSite, ReviewSection, Setup
from reconciler.errors import Trouble
from reconciler.forge.base import Forge, ForgeError
from reconciler.forge.github import GITEA, GITHUB, GitHub
from reconciler.forge.gitlab import GitLab
from reconciler.http_client import Client


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
