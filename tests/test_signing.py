"""Signatures of files: against model-signing, and against forgeries."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from reconciler.signing import (
    SIGNATURE,
    BadSignatureError,
    KeyFileError,
    SigningKey,
    TrustedKeys,
)
from tests.signing_keys import KeyFiles, make_keys, sign_with_tool, verify_with_tool

FILES = {
    "weights": b"w",
    "deep/b": b"b",
    "deep-c": b"c",
    "ünï .txt": b"u",
    ".gitattributes": b"a",
}


@pytest.fixture
def keys(tmp_path: Path) -> KeyFiles:
    return make_keys(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def digests() -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}


def signed(keys: KeyFiles) -> bytes:
    return SigningKey.load(keys.private).sign("model", digests(), ignored=["logs"], links=False)


def trusted(*keys: KeyFiles) -> TrustedKeys:
    return TrustedKeys.load([each.public for each in keys])


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_model_signing_verifies_what_is_signed_here(
    tmp_path: Path, folder: Path, curve: ec.EllipticCurve
) -> None:
    keys = make_keys(tmp_path, "curve", curve)
    (folder / SIGNATURE).write_bytes(signed(keys))
    (folder / "logs").mkdir()
    (folder / "logs" / "attempt-1.log").write_text("left out")
    verify_with_tool(folder, keys)
    (folder / "weights").write_bytes(b"W")
    with pytest.raises(ValueError, match="weights"):
        verify_with_tool(folder, keys)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_what_model_signing_signed_is_valid_here(
    tmp_path: Path, folder: Path, curve: ec.EllipticCurve
) -> None:
    keys = make_keys(tmp_path, "curve", curve)
    sign_with_tool(folder, keys)
    found = trusted(keys).verify((folder / SIGNATURE).read_bytes())
    assert found.files == {k: v for k, v in digests().items() if k != ".gitattributes"}
    assert found.signer == str(keys.public)
    assert found.ignores(".gitattributes")
    assert not found.ignores(".gitattributes2")


def test_of_several_keys_the_one_that_signed_is_named(tmp_path: Path, keys: KeyFiles) -> None:
    old = make_keys(tmp_path, "old")
    assert trusted(old, keys).verify(signed(old)).signer == str(old.public)
    own = TrustedKeys.load([old.public], keys.private)
    assert own.verify(signed(keys)).signer == str(keys.private)


def test_a_signature_without_a_hint_is_tried_with_each_key(tmp_path: Path, keys: KeyFiles) -> None:
    bundle = json.loads(signed(keys))
    del bundle["verificationMaterial"]["publicKey"]["hint"]
    other = make_keys(tmp_path, "other")
    assert trusted(other, keys).verify(json.dumps(bundle).encode()).signer == str(keys.public)
    with pytest.raises(BadSignatureError, match="a key that is not trusted"):
        trusted(other).verify(json.dumps(bundle).encode())


def resign(bundle: Any, keys: KeyFiles, change: Callable[[Any], object]) -> None:
    """Change the statement and sign it again, as its signer could."""
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    head = f"DSSEv1 28 application/vnd.in-toto+json {len(payload)} ".encode()
    key = serialization.load_pem_private_key(keys.private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(head + payload, ec.ECDSA(hashes.SHA256()))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()


def alter(bundle: Any, old: bytes, new: bytes) -> None:
    """Change the payload, and leave its signature."""
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    assert old in payload
    changed = payload.replace(old, new, 1)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()


def flip(bundle: Any) -> None:
    signature = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    signature[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()


def double(bundle: Any) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


FORGED: dict[str, tuple[Callable[[Any], object], str]] = {
    "altered digest": (lambda b: alter(b, digests()["weights"].encode(), b"0" * 64), "not fit"),
    "altered name": (lambda b: alter(b, b'"weights"', b'"heights"'), "not fit"),
    "removed entry": (lambda b: alter(b, b'"resources": [{', b'"resources": [], "x": [{'), "fit"),
    "flipped bit of the signature": (flip, "not fit"),
    "no signature": (lambda b: b["dsseEnvelope"]["signatures"].clear(), "expected one"),
    "two signatures": (double, "expected one"),
    "other payload type": (lambda b: b["dsseEnvelope"].update(payloadType="x"), "payloadType"),
    "other media type": (lambda b: b.update(mediaType="x"), "mediaType"),
    "payload that is no base64": (lambda b: b["dsseEnvelope"].update(payload="~"), "base64"),
    "certificate": (lambda b: b.update(verificationMaterial={"certificate": {}}), "certificate"),
    "hint of no key": (
        lambda b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64),
        "not trusted .000000000000.",
    ),
    "hint that is no text": (
        lambda b: b["verificationMaterial"]["publicKey"].update(hint=[1]),
        "not trusted",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_signature_is_refused(keys: KeyFiles, name: str) -> None:
    forge, told = FORGED[name]
    bundle = json.loads(signed(keys))
    forge(bundle)
    with pytest.raises(BadSignatureError, match=told):
        trusted(keys).verify(json.dumps(bundle).encode())


def twice(statement: Any) -> None:
    statement["predicate"]["resources"] *= 2


def without(statement: Any) -> None:
    statement["predicate"]["resources"].pop()


MISMADE: dict[str, tuple[Callable[[Any], object], str]] = {
    "other statement": (lambda s: s.update(_type="x"), "predicateType"),
    "version 0.2": (
        lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"),
        "predicateType",
    ),
    "shards": (lambda s: s["predicate"]["serialization"].update(method="shards"), "method files"),
    "blake3": (lambda s: s["predicate"]["serialization"].update(hash_type="blake3"), "sha256"),
    "a file twice": (twice, "twice"),
    "fewer files than the subject's digest has": (without, "subject"),
    "no subject": (lambda s: s["subject"].clear(), "subject"),
    "a digest that is none": (
        lambda s: s["predicate"]["resources"][0].update(digest="ABC"),
        "SHA-256",
    ),
    "ignored paths that are none": (
        lambda s: s["predicate"]["serialization"].update(ignore_paths=[1]),
        "ignore_paths",
    ),
}


@pytest.mark.parametrize("name", MISMADE)
def test_a_signed_statement_of_another_form_is_refused(keys: KeyFiles, name: str) -> None:
    change, told = MISMADE[name]
    bundle = json.loads(signed(keys))
    resign(bundle, keys, change)
    with pytest.raises(BadSignatureError, match=told):
        trusted(keys).verify(json.dumps(bundle).encode())


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"[" * 100_000, b"\xff", b"{}"])
def test_what_is_no_signature_is_refused(keys: KeyFiles, content: bytes) -> None:
    with pytest.raises(BadSignatureError):
        trusted(keys).verify(content)


def test_a_signature_is_over_its_own_key_alone(tmp_path: Path, keys: KeyFiles) -> None:
    with pytest.raises(BadSignatureError, match="not trusted"):
        trusted(make_keys(tmp_path, "other")).verify(signed(keys))
    with pytest.raises(BadSignatureError, match="not trusted"):
        TrustedKeys.load([]).verify(signed(keys))


def pem(key: Any, password: bytes | None = None) -> bytes:
    hidden = serialization.BestAvailableEncryption(password) if password else None
    pkcs8 = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    made: bytes = key.private_bytes(serialization.Encoding.PEM, pkcs8, hidden or plain)
    return made


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"no key", "expected a private key in PEM, without a passphrase"),
        (b"x" * 100_000, "larger than"),
        (pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "without a passphrase"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "expected a key on P-256"),
        (pem(rsa.generate_private_key(65537, 2048)), "expected an elliptic-curve key"),
    ],
)
def test_a_key_that_cannot_sign_is_refused(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(KeyFileError, match=f"key: .*{told}"):
        SigningKey.load(file)
    with pytest.raises(KeyFileError, match="key: "):
        TrustedKeys.load([file])
