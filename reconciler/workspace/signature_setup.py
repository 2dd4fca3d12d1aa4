"""Verification and signing of commits, as they are configured."""

from __future__ import annotations

import tempfile
from pathlib import Path

from reconciler.config import Setup
from reconciler.git import MOST_COMMITS, CommitSigner, Repository, SignatureVerifier
from reconciler.types import Commit


def believed_status(setup: Setup, repository: Repository, tip: Commit) -> Commit | None:
    """Return the newest status commit that counts, up to a tip.

    Raises GitError where signatures cannot be checked, as without the key.
    """
    if not checks_status(setup):
        return tip
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        verifier = configured_verifier(setup, home, own=status_signer(setup, home))
        commits = repository.history(tip, first_parents=True, limit=MOST_COMMITS)
        return verifier.first_verified(repository.git_directory, commits)


def checks_status(setup: Setup) -> bool:
    """Return whether unsigned status commits do not count."""
    config = setup.config
    return config.status.signing_key_file is not None and config.repository.verify is not None


def configured_verifier(
    setup: Setup, home: Path, own: CommitSigner | None = None
) -> SignatureVerifier:
    """Return the verifier of `repository.verify`, which must be configured."""
    section = setup.config.repository.verify
    assert section is not None
    return SignatureVerifier(
        signers=setup.optional_file(section.signers),
        revoked=setup.optional_file(section.revoked),
        keyring=setup.optional_file(section.keyring),
        home=home,
        own=own,
    )


def status_signer(setup: Setup, home: Path) -> CommitSigner | None:
    """Return the signer of status commits, if they are signed."""
    key = setup.optional_file(setup.config.status.signing_key_file)
    return CommitSigner(key, home) if key is not None else None
