"""Credentials by URL prefix, from files that are read at each use.

The files rotate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.errors import GitError
from reconciler.urls import has_prefix, path_depth

#: The user name that forges accept when the password is a token.
TOKEN_USER = "x-access-token"  # noqa: S105 -- a user's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Credentials for repositories whose URL has this prefix, and no others."""

    prefix: str
    username: str | None = None
    password_file: Path | None = field(default=None, repr=False)
    ssh_key_file: Path | None = field(default=None, repr=False)
    known_hosts_file: Path | None = None

    @property
    def empty(self) -> bool:
        """Return whether no credential is configured.

        So it is where the repository's own section has none.
        """
        return not (self.username or self.password_file or self.ssh_key_file)

    def password(self) -> str:
        """Read the token or password from its file. Raises GitError."""
        assert self.password_file is not None
        try:
            password = self.password_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise GitError(f"the password file {self.password_file} cannot be read") from error
        if not password or any(ord(char) < 32 for char in password):
            raise GitError(f"the password file {self.password_file} does not hold one line")
        return password


@dataclass(frozen=True, slots=True)
class CredentialTable:
    """All credentials; the longest prefix that covers a URL wins."""

    credentials: Sequence[Credential] = ()
    ca_file: Path | None = None

    def find(self, url: str) -> Credential | None:
        """Return the credential for a URL, or None.

        Of two prefixes of equal length, the first wins.
        """
        covering = [c for c in self.credentials if not c.empty and has_prefix(url, c.prefix)]
        return max(covering, key=lambda c: path_depth(c.prefix), default=None)

    def known_hosts(self) -> str | None:
        """Return the known hosts of all credentials together.

        A host's key does not depend on the credential in use. None where no file is configured.
        Raises GitError for a file that cannot be read.
        """
        texts = []
        for credential in self.credentials:
            if credential.known_hosts_file is None:
                continue
            try:
                texts.append(credential.known_hosts_file.read_text())
            except (OSError, UnicodeDecodeError) as error:
                file = credential.known_hosts_file
                raise GitError(f"the known-hosts file {file} cannot be read") from error
        return "\n".join(texts) if texts else None
