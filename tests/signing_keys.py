"""Keys for signatures of artifacts, and the tool that others verify them with."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.signing import SIGNATURE


@dataclass(frozen=True)
class KeyFiles:
    """The files of a pair of keys, in PEM."""

    private: Path
    public: Path


def make_keys(
    folder: Path, name: str = "signing", curve: ec.EllipticCurve | None = None
) -> KeyFiles:
    """Write a new pair of keys."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    files = KeyFiles(folder / f"{name}.pem", folder / f"{name}.pub")
    files.private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    files.public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return files


def verify_with_tool(folder: Path, keys: KeyFiles) -> None:
    """Verify a folder with model-signing. Raises what that raises."""
    tool: Any = importlib.import_module("model_signing.verifying")
    config = tool.Config().use_elliptic_key_verifier(public_key=keys.public)
    config.verify(folder, folder / SIGNATURE)


def sign_with_tool(folder: Path, keys: KeyFiles, *, ignored: tuple[Path, ...] = ()) -> None:
    """Sign a folder with model-signing."""
    signing: Any = importlib.import_module("model_signing.signing")
    hashing: Any = importlib.import_module("model_signing.hashing")
    paths = [folder / SIGNATURE, *ignored]
    config = signing.Config().use_elliptic_key_signer(private_key=keys.private)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=paths))
    config.sign(folder, folder / SIGNATURE)
