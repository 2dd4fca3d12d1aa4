"""Keys that sign artifacts, and those whose signatures count."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from reconciler.config.kubernetes import BucketConfig
from reconciler.config.reporting import FilePath, SecretPath
from reconciler.manifests import Section


class SigningSection(Section):
    """Signatures of artifacts, as OpenSSF Model Signing 1.0 has them."""

    key_file: Annotated[
        SecretPath | None,
        Field(
            description="A private key on an elliptic curve (P-256, P-384, P-521), in PEM without "
            "a passphrase. It signs each artifact that is completed; its signatures count."
        ),
    ] = None
    public_key_files: Annotated[
        list[FilePath],
        Field(
            default_factory=list,
            max_length=100,
            description="Public keys in PEM whose signatures count too: former ones, other "
            "clusters', of those who publish data.",
        ),
    ]

    def missing_for(self, buckets: Mapping[str, BucketConfig]) -> str | None:
        """Return a bucket that needs a key where there is none."""
        if self.key_file or self.public_key_files:
            return None
        return next((name for name, each in buckets.items() if each.verify == "signature"), None)
