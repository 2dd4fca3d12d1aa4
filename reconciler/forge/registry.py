"""The registry of forges, by their names in the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from reconciler.config import ForgeSite, ReviewSection, Setup
from reconciler.errors import Trouble
from reconciler.forge.github import GITEA, GITHUB, GitHub
from reconciler.forge.gitlab import GitLab
from reconciler.forge.interface import Forge, ForgeError
from reconciler.http_client import Client

FORGES: Mapping[str, Callable[..., Forge]] = {
    "github": partial(GitHub, dialect=GITHUB),
    "gitlab": GitLab,
    "gitea": partial(GitHub, dialect=GITEA),
    "forgejo": partial(GitHub, dialect=GITEA),
}


def forge_of(setup: Setup, section: ReviewSection, site: ForgeSite, caller: Client) -> Forge:
    """Return the configured forge.

    Its token is read from the file at each request. Its calls raise ForgeError.
    """
    file, context = setup.file(section.token_file), f"reconciler/{setup.config.cluster}"

    def token() -> str:
        return _token(file)

    make = FORGES[section.forge]
    return make(caller, site.api, site.repository, token, context=context)


def _token(file: Path) -> str:
    """Read a token that is fit for a header. Raises ForgeError."""
    try:
        token = file.read_bytes()[:4096].strip().decode("ascii")
    except (OSError, ValueError) as error:
        raise ForgeError(f"{file} cannot be read", Trouble.REFUSED) from error
    if not token or not token.isprintable() or " " in token:
        raise ForgeError(f"{file} does not hold a token", Trouble.REFUSED)
    return token
