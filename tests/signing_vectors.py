"""Vectors of OpenSSF Model Signing 1.0, made by the package model-signing.

Neither the specification's repository nor the package has any that can be had as a file. So these
were made once, by ``python -m tests.signing_vectors``, and are golden: a folder's files, its
signature, and the key to trust. The package's own verdict is asked for beside ours.
"""

from __future__ import annotations

import base64
import importlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.signing import SIGNATURE
from tests.signing_keys import KeyFiles, make_keys, sign_with_tool

VECTORS = Path(__file__).parent / "golden" / "signing-vectors.json"
FILES = {"config.json": "{}\n", "empty": "", "deep/b": "b", "deep-c": "c", "ünï .txt": "u"}


@dataclass(frozen=True)
class Vector:
    """A folder, its signature and the trusted key; ``valid`` is what a verifier must say."""

    name: str
    valid: bool
    public: str
    files: dict[str, str]
    signature: str

    def write(self, folder: Path) -> KeyFiles:
        """Write the folder with its signature; return the file of the trusted key."""
        for path, text in self.files.items():
            (folder / "model" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "model" / path).write_text(text)
        (folder / "model" / SIGNATURE).write_text(self.signature)
        (folder / "key.pub").write_text(self.public)
        return KeyFiles(folder / "no such key", folder / "key.pub")


def read_vectors() -> list[Vector]:
    return [Vector(**each) for each in json.loads(VECTORS.read_text())]


# -- how they were made ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Maker:
    folder: Path

    def sign(self, keys: KeyFiles, *, ignored: tuple[str, ...] = ()) -> str:
        """The signature of the files, but for those that are left out."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            model = Path(name) / "model"
            for path, text in FILES.items():
                (model / path).parent.mkdir(parents=True, exist_ok=True)
                (model / path).write_text(text)
            sign_with_tool(model, keys, ignored=tuple(model / path for path in ignored))
            return (model / SIGNATURE).read_text()

    def resign(self, keys: KeyFiles, change: Callable[[dict[str, Any]], object]) -> str:
        """The signature of another statement, by the package's own signer."""
        signer: Any = importlib.import_module("model_signing._signing.sign_ec_key")
        json_format: Any = importlib.import_module("google.protobuf.json_format")
        statements: Any = importlib.import_module("in_toto_attestation.v1.statement_pb2")
        payload = json.loads(self.sign(keys))["dsseEnvelope"]["payload"]
        statement = json.loads(base64.b64decode(payload))
        change(statement)
        pb = json_format.ParseDict(statement, statements.Statement())
        signature = signer.Signer(keys.private).sign(
            SimpleNamespace(statement=SimpleNamespace(pb=pb))
        )
        written = self.folder / "changed.sig"
        signature.write(written)
        return written.read_text()


def _vectors(folder: Path) -> list[Vector]:
    maker, keys, other = _Maker(folder), make_keys(folder), make_keys(folder, "other")
    signature = maker.sign(keys)
    found: list[Vector] = []

    def add(
        name: str, valid: bool, signature: str, files: dict[str, str] = FILES, by: KeyFiles = keys
    ) -> None:
        found.append(Vector(name, valid, by.public.read_text(), files, signature))

    def changed(change: Callable[[dict[str, Any]], object]) -> str:
        return maker.resign(keys, change)

    add("as signed", True, signature)
    for curve in (ec.SECP384R1(), ec.SECP521R1()):
        own = make_keys(folder, curve.name, curve)
        add(f"as signed, on {curve.name}", True, maker.sign(own), by=own)
    left_out = maker.sign(keys, ignored=("deep-c",))
    add("a file that is left out", True, left_out)
    add("a file that is left out, changed", True, left_out, {**FILES, "deep-c": "C"})
    add("a file of Git, added", True, signature, {**FILES, ".gitignore": "x"})
    add("signed anew as it was", True, changed(lambda _: None))
    add("wrong digest", False, signature, {**FILES, "deep/b": "B"})
    add("an empty file that is not empty", False, signature, {**FILES, "empty": "e"})
    add("wrong key", False, maker.sign(other))
    add("extra file", False, signature, {**FILES, "deep/new": ""})
    add("missing file", False, signature, {n: t for n, t in FILES.items() if n != "deep-c"})
    add(
        "moved file",
        False,
        signature,
        {{"deep-c": "deep/c"}.get(n, n): t for n, t in FILES.items()},
    )
    add("changed order", False, changed(lambda s: s["predicate"]["resources"].reverse()))
    add(
        "other predicate type",
        False,
        changed(lambda s: s.update(predicateType="https://example.com/v1")),
    )
    add(
        "other digest of the subject",
        False,
        changed(lambda s: s["subject"][0]["digest"].update(sha256="0" * 64)),
    )
    add("entry removed", False, changed(lambda s: s["predicate"]["resources"].pop()))
    add("truncated", False, signature[: len(signature) // 2])
    add("nothing", False, "")
    bundle = json.loads(signature)
    bundle["dsseEnvelope"]["payload"] = json.loads(left_out)["dsseEnvelope"]["payload"]
    add("payload of another signature", False, json.dumps(bundle))
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        vectors = [asdict(vector) for vector in _vectors(Path(folder))]
    VECTORS.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
