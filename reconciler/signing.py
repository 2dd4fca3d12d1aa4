"""Signatures over files, in the format of OpenSSF Model Signing 1.0.

A signature is a Sigstore bundle as JSON: a DSSE envelope around an in-toto statement that lists
each file's SHA-256, signed by an elliptic-curve key. Reading is stricter than the format: one
signature, by a key, over whole files, by SHA-256. A bundle of a certificate or of a Sigstore
identity is refused, as is one that version 0.2 of the format made.

``cryptography`` is imported at the first use: most commands and most runs sign nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from reconciler.errors import ReconcilerError
from reconciler.types import JSON

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

#: The file of a signature, in the folder whose files it is over.
SIGNATURE = "model.sig"
#: The longest signature that is read, in bytes: of a million files and more.
SIGNATURE_LIMIT = 256 << 20
#: The fault of a folder without one.
UNSIGNED = "is not there: nobody has signed the files"
#: Files of the folder's Git repository, if it is one: the format's tools leave them out.
GIT_PATHS = (".git", ".gitattributes", ".github", ".gitignore")

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST_KEY = 64 << 10


class KeyFileError(ReconcilerError):
    """A key file that cannot be used; the message names it."""


class BadSignatureError(ReconcilerError):
    """A signature that is missing, malformed, or not by a trusted key."""


@dataclass(frozen=True, slots=True)
class SignedFiles:
    """The content of a valid signature: SHA-256 by path.

    ``ignored`` are the paths that the signer left out, each with what is below it. ``signer`` is
    the file of the trusted key that made the signature.
    """

    files: Mapping[str, str]
    ignored: tuple[str, ...]
    signer: str

    def ignores(self, path: str) -> bool:
        """Return whether the signer left a path out."""
        return any(path == left or path.startswith(f"{left}/") for left in self.ignored)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key."""

    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, file: Path) -> SigningKey:
        """Read a PEM file without a passphrase. Raises KeyFileError."""
        return cls(_private(file, _read(file)))

    def sign(
        self, name: str, files: Mapping[str, str], *, ignored: Iterable[str], links: bool
    ) -> bytes:
        """Sign a folder's files, SHA-256 by path; return the bundle.

        ``ignored`` are the paths in it that are left out. ``links``: there are symbolic links.
        """
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 -- see above

        left_out: list[JSON] = [*sorted({*ignored, SIGNATURE, *GIT_PATHS})]
        signed = {
            path: files[path]
            for path in sorted(files, key=lambda path: path.split("/"))
            if path.split("/")[0] not in GIT_PATHS
        }
        resources: list[JSON] = [
            {"name": path, "algorithm": "sha256", "digest": digest}
            for path, digest in signed.items()
        ]
        serialization: JSON = {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": links,
            "ignore_paths": left_out,
        }
        statement: JSON = {
            "_type": _STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": _root_digest(signed.values())}}],
            "predicateType": _PREDICATE,
            "predicate": {"serialization": serialization, "resources": resources},
        }
        payload = json.dumps(statement, ensure_ascii=False).encode()
        public = self._key.public_key()
        signature = self._key.sign(_envelope(payload), ec.ECDSA(_hash_of(public)))
        return _json(
            {
                "mediaType": _BUNDLE,
                "verificationMaterial": {"publicKey": {"hint": _hint(public)}, "tlogEntries": []},
                "dsseEnvelope": {
                    "payload": base64.b64encode(payload).decode(),
                    "payloadType": _PAYLOAD,
                    "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
                },
            }
        )


@dataclass(frozen=True, slots=True)
class _TrustedKey:
    """A public key with its file and the hint of the format."""

    name: str
    hint: str
    key: ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Public keys, any of which makes a signature valid."""

    _keys: tuple[_TrustedKey, ...]

    @classmethod
    def load(cls, public: Iterable[Path], private: Path | None = None) -> TrustedKeys:
        """Read PEM files; of a private key its public half. Raises KeyFileError."""
        found = [_TrustedKey(str(file), _hint(key), key) for file, key in map(_public, public)]
        if private is not None:
            key = _private(private, _read(private)).public_key()
            found.append(_TrustedKey(str(private), _hint(key), key))
        return cls(tuple(found))

    def verify(self, bundle: bytes) -> SignedFiles:
        """Return what a trusted key has signed. Raises BadSignatureError."""
        if len(bundle) > SIGNATURE_LIMIT:
            raise BadSignatureError(f"it is larger than {SIGNATURE_LIMIT >> 20} MiB")
        content = _object(_parsed(bundle), "the bundle")
        if content.get("mediaType") != _BUNDLE:
            raise BadSignatureError(f"mediaType: expected {_BUNDLE}")
        material = _object(content.get("verificationMaterial"), "verificationMaterial")
        if "publicKey" not in material:
            raise BadSignatureError("it is by a certificate or an identity, and not by a key")
        hint = _object(material["publicKey"], "publicKey").get("hint")
        envelope = _object(content.get("dsseEnvelope"), "dsseEnvelope")
        if envelope.get("payloadType") != _PAYLOAD:
            raise BadSignatureError(f"payloadType: expected {_PAYLOAD}")
        payload = _decoded(envelope.get("payload"), "payload")
        signatures = envelope.get("signatures")
        if not isinstance(signatures, list) or len(signatures) != 1:
            raise BadSignatureError("signatures: expected one")
        signature = _decoded(_object(signatures[0], "signatures[0]").get("sig"), "sig")
        signer = self._signer(hint, payload, signature)
        files, ignored = _statement(_object(_parsed(payload), "the payload"))
        return SignedFiles(files, ignored, signer)

    def _signer(self, hint: JSON, payload: bytes, signature: bytes) -> str:
        """Return the name of the key that made a signature."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

        # Without a hint, which signatures of old have not got, each key is tried.
        asked = [known for known in self._keys if not hint or known.hint == hint]
        if not asked:
            shown = hint[:12] if isinstance(hint, str) and _SHA256.fullmatch(hint) else "unknown"
            raise BadSignatureError(f"it is by a key that is not trusted ({shown})")
        for known in asked:
            try:
                known.key.verify(signature, _envelope(payload), ec.ECDSA(_hash_of(known.key)))
            except InvalidSignature:
                continue
            return known.name
        raise BadSignatureError("it does not fit its content, or is by a key that is not trusted")


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningFiles:
    """The files of keys, read at each use, as they may rotate.

    ``key`` signs, and its public half is trusted beside those in ``trusted``.
    """

    key: str | None = None
    trusted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether there is any key."""
        return bool(self.key or self.trusted)

    def signing_key(self) -> SigningKey | None:
        """Read the key that signs. Raises KeyFileError."""
        return SigningKey.load(Path(self.key)) if self.key else None

    def trusted_keys(self) -> TrustedKeys:
        """Read all public keys. Raises KeyFileError."""
        return TrustedKeys.load(map(Path, self.trusted), Path(self.key) if self.key else None)


def _statement(content: dict[str, JSON]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a statement's files, SHA-256 by path, and the ignored paths."""
    if content.get("_type") != _STATEMENT or content.get("predicateType") != _PREDICATE:
        raise BadSignatureError(f"predicateType: expected {_PREDICATE} in a {_STATEMENT}")
    predicate = _object(content.get("predicate"), "predicate")
    serialization = _object(predicate.get("serialization"), "serialization")
    if (serialization.get("method"), serialization.get("hash_type")) != ("files", "sha256"):
        raise BadSignatureError("serialization: expected the method files and the hash sha256")
    ignored = serialization.get("ignore_paths", [])
    if not isinstance(ignored, list) or not all(isinstance(path, str) for path in ignored):
        raise BadSignatureError("ignore_paths: expected a list of paths")
    files = _resources(predicate.get("resources"))
    subjects = content.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise BadSignatureError("subject: expected one")
    digests = _object(_object(subjects[0], "subject").get("digest"), "subject")
    if digests.get("sha256") != _root_digest(files.values()):
        raise BadSignatureError("subject: its digest is not that of the resources")
    return files, tuple(cast("list[str]", ignored))


def _resources(resources: JSON) -> dict[str, str]:
    """Return the SHA-256 of files by path, in the statement's order."""
    if not isinstance(resources, list):
        raise BadSignatureError("resources: expected a list")
    files: dict[str, str] = {}
    for each in resources:
        entry = _object(each, "resources")
        path, digest = entry.get("name"), entry.get("digest")
        if not isinstance(path, str) or not isinstance(digest, str):
            raise BadSignatureError("resources: expected name and digest")
        if entry.get("algorithm") != "sha256" or not _SHA256.fullmatch(digest):
            raise BadSignatureError("resources: expected a SHA-256")
        if path in files:
            raise BadSignatureError("resources: a file stands there twice")
        files[path] = digest
    return files


def _root_digest(digests: Iterable[str]) -> str:
    """Return the SHA-256 of all digests, in their order."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _envelope(payload: bytes) -> bytes:
    """Return the bytes that DSSE signs: its pre-authentication encoding."""
    return b"DSSEv1 %d %s %d " % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload)) + payload


def _json(value: JSON) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _parsed(data: bytes) -> JSON:
    try:
        value: JSON = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadSignatureError("it is no JSON") from error
    return value


def _object(value: JSON, place: str) -> dict[str, JSON]:
    if not isinstance(value, dict):
        raise BadSignatureError(f"{place}: expected an object")
    return value


def _decoded(value: JSON, place: str) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignatureError(f"{place}: expected base64") from error


# -- keys ------------------------------------------------------------------------------------


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(_LONGEST_KEY + 1)
    except OSError as error:
        raise KeyFileError(f"{file}: cannot be read: {error.strerror or error}") from error
    if len(data) > _LONGEST_KEY:
        raise KeyFileError(f"{file}: is no key: it is larger than {_LONGEST_KEY >> 10} KiB")
    return data


def _private(file: Path, data: bytes) -> ec.EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(data, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{file}: expected a private key in PEM, without a passphrase"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyFileError(f"{file}: expected an elliptic-curve key")
    _hash_of(key.public_key(), file)
    return key


def _public(file: Path) -> tuple[Path, ec.EllipticCurvePublicKey]:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(_read(file))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{file}: expected a public key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyFileError(f"{file}: expected an elliptic-curve key")
    _hash_of(key, file)
    return file, key


def _hash_of(
    key: ec.EllipticCurvePublicKey, file: Path | None = None
) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """Return the hash that the format has for a curve. Raises KeyFileError."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    match key.curve.name:
        case "secp256r1":
            return hashes.SHA256()
        case "secp384r1":
            return hashes.SHA384()
        case "secp521r1":
            return hashes.SHA512()
        case other:
            raise KeyFileError(f"{file}: expected a key on P-256, P-384 or P-521, found {other}")


def _hint(key: ec.EllipticCurvePublicKey) -> str:
    """Return a key's name in a bundle: the SHA-256 of its PEM."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(pem).hexdigest()
