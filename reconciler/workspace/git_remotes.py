"""The remotes that a configuration names, with the credentials that go with each."""

from __future__ import annotations

from pathlib import Path

from reconciler.config.model import CredentialsSection, Setup
from reconciler.git import Credential, CredentialTable, Sources, StatusBranch, normal_url
from reconciler.git.allow import matches


def credential_table(setup: Setup) -> CredentialTable:
    """Which credentials go with which URL. Raises GitError for a repository's URL that is none."""
    normal_url(setup.repository_url)

    def path(name: str | None) -> Path | None:
        return setup.file(name) if name is not None else None

    def credential(prefix: str, section: CredentialsSection) -> Credential:
        return Credential(
            prefix=prefix,
            username=section.username,
            password_file=path(section.password_file),
            ssh_key_file=path(section.ssh_key_file),
            known_hosts_file=path(section.known_hosts_file),
        )

    config = setup.config
    own = credential(setup.repository_url, config.repository.credentials)
    sources = [credential(section.prefix, section) for section in config.sources.credentials]
    return CredentialTable([own, *sources], ca_file=path(config.tls.ca_file))


def status_branch(setup: Setup, folder: Path) -> StatusBranch:
    """The status branch of this configuration, kept in a bare repository at ``folder``."""
    author = setup.config.status.author
    return StatusBranch(
        folder,
        setup.repository_url,
        branch=setup.status_branch,
        credentials=credential_table(setup),
        author_name=author.name,
        author_email=author.email,
    )


def source_reader(
    setup: Setup, *, patience: float | None = None, folder: str = "sources"
) -> Sources:
    """Looks sources up, and fetches what is built.

    ``patience`` is for how many seconds a sync waits for them, None for as long as it takes. Each
    reader in a process has a folder of its own.
    """
    return Sources(
        setup.root / "git" / folder,
        credentials=credential_table(setup),
        interval=setup.config.sources.interval,
        patience=patience,
        allowed=lambda url: matches(url, setup.sources_allow),
    )
