"""``reconciler verify``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import click

from reconciler import stores
from reconciler.cli.exit_codes import ExitCode
from reconciler.cli.options import config_option, format_option, load_if_there
from reconciler.cli.recorded_state import StateReader
from reconciler.cli.select import kind_option, name_argument, namespace_option, select_artifact
from reconciler.cli.terminal import json_text
from reconciler.codec import Codec
from reconciler.config import Setup
from reconciler.engines.local import (
    FaultKind,
    FileFault,
    Marker,
    StoredArtifact,
    find_faults,
    finish,
)
from reconciler.review import counted, printable, shown_size
from reconciler.signing import (
    SIGNATURE,
    SIGNATURE_LIMIT,
    BadSignatureError,
    KeyFileError,
    TrustedKeys,
)
from reconciler.types import Kind, ObjectRef, TaskKey, Verify

#: Files read from a store at a time.
_CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class _Fault:
    path: str
    fault: FaultKind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedDocument:
    """The JSON of ``verify --format json``.

    ``files``, ``digests`` and ``size`` are null without a marker, ``signer`` without a valid
    signature: it is the file of the key.
    """

    kind: Kind
    namespace: str
    name: str
    key: TaskKey
    url: str
    valid: bool
    files: int | None
    digests: int | None
    size: int | None
    signer: str | None
    faults: tuple[_Fault, ...]


_DOCUMENT = Codec(VerifiedDocument, omit="nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An artifact, its marker if it has one, and its faults."""

    ref: ObjectRef
    key: TaskKey
    url: str
    marker: Marker | None
    faults: tuple[FileFault, ...]
    signer: str | None

    @property
    def digested(self) -> int:
        """The number of files whose content was recorded."""
        return sum(1 for file in self.marker.files if file.sha256) if self.marker else 0

    @property
    def size(self) -> int:
        """The recorded bytes of all files."""
        return sum(file.size for file in self.marker.files) if self.marker else 0

    @property
    def document(self) -> VerifiedDocument:
        """The document that ``--format json`` prints."""
        return VerifiedDocument(
            kind=self.ref.kind,
            namespace=self.ref.namespace,
            name=self.ref.name,
            key=self.key,
            url=self.url,
            valid=not self.faults,
            files=len(self.marker.files) if self.marker else None,
            digests=self.digested if self.marker else None,
            size=self.size if self.marker else None,
            signer=self.signer,
            faults=tuple(_Fault(each.path, each.kind, each.message) for each in self.faults),
        )


@click.command()
@name_argument(required=True)
@click.argument("key", required=False)
@namespace_option
@kind_option
@format_option("text", "json")
@config_option
def verify(
    name: str,
    key: str | None,
    namespace: str | None,
    kind: str | None,
    style: str,
    config_file: Path,
) -> None:
    """Compare the files of an artifact with its completed.json.

    NAME is a Model or Dataset, whose current artifact is meant, or a key. KEY, or its first 6 or
    more digits, names an earlier artifact of the object.

    All files are read: their sizes are compared, and their SHA-256 where it was recorded. Each
    file that is missing, new or changed is printed. A signature is checked by the keys of
    `signing` in the configuration, and the one that made it is named; in a bucket with `verify:
    signature` there has to be one. The exit code is 0 if there is no fault, else 1.

    An artifact is read from this machine's disk, or from an s3://, gs:// or az:// bucket with the
    credentials in your environment. In other buckets, runs check what they mount: see `verify` of
    a bucket in the configuration.
    """
    setup = load_if_there(config_file)
    state = StateReader(setup, Path()).read()
    state.check_synced()
    ref, found_key, url = select_artifact(state, name, key, namespace=namespace, kind=kind)
    found = _verified(ref, found_key, url, _Signatures.of(setup, url))
    click.echo(json_text(_DOCUMENT.dump(found.document)) if style == "json" else _text(found))
    if found.faults:
        sys.exit(ExitCode.FAILURE)


@dataclass(frozen=True, slots=True)
class _Signatures:
    """The demands on an artifact's signature.

    ``keys`` are those whose signatures count; without any none is checked.
    """

    keys: TrustedKeys | None
    demanded: bool

    @classmethod
    def of(cls, setup: Setup | None, url: str) -> _Signatures:
        """Return those of an artifact's bucket.

        Raises ClickException for a key that cannot be read.
        """
        if setup is None or not setup.signing:
            return cls(None, demanded=False)
        try:
            keys = setup.signing.trusted_keys()
        except KeyFileError as error:
            raise click.ClickException(f"signing: {error}") from error
        return cls(keys, demanded=setup.verified(url) is Verify.SIGNATURE)


def _verified(ref: ObjectRef, key: TaskKey, url: str, signatures: _Signatures) -> Verified:
    split = urlsplit(url)
    if split.scheme == "file":
        marker, faults, signer = _on_disk(Path(unquote(split.path)), key, signatures)
    elif split.scheme in stores.SCHEMES:
        marker, faults, signer = _in_store(url.rstrip("/"), key, signatures)
    else:
        raise click.ClickException(
            f"{url} cannot be read from here: only file:// and "
            f"{', '.join(f'{scheme}://' for scheme in stores.SCHEMES)} can. With `verify: digests` "
            "for its bucket in the configuration, each run checks what it mounts of it"
        )
    return Verified(ref=ref, key=key, url=url, marker=marker, faults=faults, signer=signer)


#: A marker, the faults of its files, and the key that signed it.
_Found: TypeAlias = tuple[Marker | None, tuple[FileFault, ...], str | None]


def _on_disk(folder: Path, key: TaskKey, signatures: _Signatures) -> _Found:
    if not folder.parent.is_dir():
        raise click.ClickException(
            f"there is no folder {folder} here; the artifact is on the disk of the machine that "
            "made it: call this command there"
        )
    keys = signatures.keys
    if not signatures.demanded and not (folder / SIGNATURE).exists():
        keys = None
    marker, faults = finish(find_faults(folder, key, keys=keys))
    if keys is None or marker is None:
        return marker, faults, None
    try:
        with (folder / SIGNATURE).open("rb") as file:
            signer = keys.verify(file.read(SIGNATURE_LIMIT + 1)).signer
    except (OSError, BadSignatureError):
        return marker, faults, None
    wrong = any(fault.kind is FaultKind.SIGNATURE for fault in faults)
    return marker, faults, None if wrong else signer


def _in_store(url: str, key: TaskKey, signatures: _Signatures) -> _Found:
    """Compare an artifact in a store with its marker. Raises StoreError."""
    artifact, signer = StoredArtifact(url), None
    marker, content, faults = artifact.read_marker(key)
    if marker is not None and signatures.keys is not None:
        marker, signer, faults = artifact.check_signature(
            marker, content, signatures.keys, demanded=signatures.demanded
        )
    if marker is None or faults:
        return marker, faults, None
    found = artifact.compare_sizes(marker)
    wrong = {fault.path for fault in found}
    files = [file for file in marker.files if file.sha256 and file.path not in wrong]
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        compared = pool.map(lambda file: finish(artifact.compare_content(file)), files)
        found += filter(None, compared)
    return marker, tuple(found), signer


def _text(found: Verified) -> str:
    place = f"{found.ref}, artifact {found.key[:12]} in {printable(found.url)}"
    lines = [printable(str(fault)) for fault in found.faults]
    marker = found.marker
    if marker is None:
        return "\n".join([*lines, f"{place}: it cannot be told what its files were"])
    total = f"{counted(len(marker.files), 'file')}, {shown_size(found.size)}"
    end = f"{len(found.faults)} wrong" if found.faults else "all as they were made"
    without = len(marker.files) - found.digested
    if without:
        end += f"; of {'all' if without == len(marker.files) else without} only the sizes are known"
    if found.signer:
        end += f"; signed by {printable(found.signer)}"
    return "\n".join([*lines, f"{place}: {total}, {end}"])
