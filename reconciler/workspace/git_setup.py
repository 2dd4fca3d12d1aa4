"""Remotes of a configuration, each with its credentials."""

from __future__ import annotations

from pathlib import Path

from reconciler.config import CredentialsSection, Setup
from reconciler.git import (
    Credential,
    CredentialTable,
    GitError,
    Repository,
    SignatureVerifier,
    Sources,
    StatusBranch,
    UpdateBranches,
    normal_url,
)
from reconciler.urls import admits_url
from reconciler.workspace.signature_setup import (
    checks_status,
    configured_verifier,
    status_signer,
)
from reconciler.workspace.tenant_signatures import TenantSignatures
from reconciler.workspace.verified_head import HeadVerification


def git_folder(setup: Setup) -> Path:
    """The folder of the copies of repositories.

    The state folder around it is made if need be, for this user alone: it has logs, params and
    artifacts. The mode of one that is there already is the operator's. Raises GitError.
    """
    try:
        setup.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise GitError(f"{setup.root} cannot be written: {error.strerror}") from error
    return setup.root / "git"


def credential_table(setup: Setup) -> CredentialTable:
    """Return the credentials of each URL prefix.

    Raises GitError if the repository's URL is malformed.
    """
    normal_url(setup.repository_url)

    def credential(prefix: str, section: CredentialsSection) -> Credential:
        return Credential(
            prefix=prefix,
            username=section.username,
            password_file=setup.optional_file(section.password_file),
            ssh_key_file=setup.optional_file(section.ssh_key_file),
            known_hosts_file=setup.optional_file(section.known_hosts_file),
        )

    config = setup.config
    own = credential(setup.repository_url, config.repository.credentials)
    sources = [credential(section.prefix, section) for section in config.sources.credentials]
    return CredentialTable([own, *sources], ca_file=setup.optional_file(config.tls.ca_file))


def status_branch(setup: Setup, folder: Path) -> StatusBranch:
    """The configured status branch, kept in a bare repository at ``folder``.

    Where commits must be verified and those of the status are signed, unsigned ones do not count.
    """
    author = setup.config.status.author
    home = folder.with_name(f"{folder.name}.signatures")
    signer = status_signer(setup, home)
    return StatusBranch(
        folder,
        setup.repository_url,
        branch=setup.status_branch,
        credentials=credential_table(setup),
        author_name=author.name,
        author_email=author.email,
        signer=signer,
        verifier=configured_verifier(setup, home, own=signer) if checks_status(setup) else None,
    )


def update_branches(setup: Setup) -> UpdateBranches:
    """The branches of update requests.

    Their commits are signed where those of the status are.
    """
    author, folder = setup.config.status.author, git_folder(setup)
    return UpdateBranches(
        folder / "updates.git",
        setup.repository_url,
        branch=setup.config.repository.branch,
        credentials=credential_table(setup),
        author_name=author.name,
        author_email=author.email,
        signer=status_signer(setup, folder / "updates.signatures"),
    )


def head_verification(setup: Setup, repository: Repository) -> HeadVerification | None:
    """The check of commits of a repository; None where none is configured."""
    section = setup.config.repository.verify
    if section is None:
        return None
    home = git_folder(setup) / "verification"
    verifiers = {
        tenant.name: SignatureVerifier(
            signers=setup.optional_file(tenant.signers),
            revoked=setup.optional_file(section.revoked),
            home=home / "tenants" / tenant.name,
        )
        for tenant in setup.config.tenants
        if tenant.signers is not None
    }
    tenants = TenantSignatures(repository, setup.tenants, verifiers) if verifiers else None
    return HeadVerification(repository, configured_verifier(setup, home), section.mode, tenants)


def source_reader(
    setup: Setup, *, patience: float | None = None, folder: str = "sources"
) -> Sources:
    """Return a reader that resolves sources and fetches built ones.

    ``patience`` is the number of seconds that a sync waits for sources; None: no limit. Each
    reader in a process needs a folder of its own.
    """
    return Sources(
        git_folder(setup) / folder,
        credentials=credential_table(setup),
        interval=setup.config.sources.interval,
        largest=setup.config.sources.max_size,
        patience=patience,
        allowed=lambda url: admits_url(url, setup.sources_allow),
    )
