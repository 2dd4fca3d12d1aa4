"""Images made from files of this machine, as nothing can be pulled here: one layer, one manifest.

Programs bring the shared libraries that ``ldd`` names; the Python image is the interpreter that
runs the tests. Layers are not compressed: they travel over loopback, and tar alone is fast.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import re
import struct
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import pip

from tests.cluster.machine import tool
from tests.processes import run

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_XATTR = "SCHILY.xattr.security.capability"
#: Of the standard library, what no script in a test pod asks for.
_LEFT_OUT = {"__pycache__", "ensurepip", "idlelib", "site-packages", "test", "tests", "tkinter"}
#: Of what a manylinux wheel may take from its system, what the interpreter itself may lack.
_WHEELS_NEED = (
    "libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1",
    "libutil.so.1", "libm.so.6", "libz.so.1",
)  # fmt: skip


@dataclass
class Image:
    """Files at their paths in the image, and how it starts."""

    command: tuple[str, ...] = ("sh",)
    entrypoint: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w")  # noqa: SIM115
        self._there: set[str] = set()

    def folder(self, path: str, mode: int = 0o755, owner: int = 0) -> None:
        for parent in (*reversed(Path(path.lstrip("/")).parents), Path(path.lstrip("/"))):
            name = str(parent)
            if name != "." and name not in self._there:
                last = parent == Path(path.lstrip("/"))
                self._add(name, tarfile.DIRTYPE, mode if last else 0o755, owner if last else 0)

    def text(self, path: str, text: str, mode: int = 0o644, owner: int = 0) -> None:
        self._file(path, text.encode(), mode, owner)

    def link(self, path: str, target: str) -> None:
        self.folder(str(Path(path).parent))
        self._add(path.lstrip("/"), tarfile.SYMTYPE, 0o777, 0, link=target)

    def tree(self, archive: Path) -> None:
        """What a tar archive has, but for devices; files that are there already stay."""
        with tarfile.open(archive) as source:
            for entry in source:
                entry.name = entry.name.removeprefix("./")
                if entry.islnk():
                    entry.linkname = entry.linkname.removeprefix("./")
                if entry.name in {"", *self._there} or entry.isdev():
                    continue
                self._tar.addfile(entry, source.extractfile(entry) if entry.isreg() else None)
                self._there.add(entry.name)

    def file(self, path: str, source: Path | str, *, capability: int | None = None) -> None:
        """A copy of ``source`` with its mode; or with a capability in place of set-uid."""
        source = Path(source)
        mode = source.stat().st_mode & (0o7777 if capability is None else 0o777)
        self._file(path, source.read_bytes(), mode, 0, capability)

    def program(self, path: str, source: Path | str, *, capability: int | None = None) -> None:
        """``source`` and the libraries it is linked with, at the paths where it looks for them."""
        self.file(path, source, capability=capability)
        self.libraries([source])

    def libraries(self, programs: Iterable[Path | str]) -> None:
        for program in programs:
            listed = run(["ldd", program])
            for library in re.findall(r"(/\S+) \(0x", listed.stdout):
                if library.lstrip("/") not in self._there:
                    self.file(library, library)

    def busybox(self) -> Image:
        """A shell with its tools, a home and users."""
        box = tool("busybox")
        self.file("/bin/busybox", box)
        names = run([box, "--list"], check=True).stdout
        for name in names.split():
            if name != "busybox":
                self.link(f"/bin/{name}", "busybox")
        self.folder("/tmp", 0o1777)
        self.folder("/root")  # open to all: the interpreter may be below it
        self.folder("/home/user", 0o755, owner=1000)
        self.text(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
        )
        self.text("/etc/group", "root:x:0:\nuser:x:1000:\n")
        self.text("/etc/nsswitch.conf", "hosts: files dns\n")
        self.folder("/usr/bin")
        self.link("/usr/bin/env", "/bin/busybox")
        return self

    def python(self) -> Image:
        """The interpreter that runs the tests, as ``python3`` and ``python``."""
        paths = sysconfig.get_paths(
            vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}
        )
        binary = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
        self.program(str(binary), binary)
        library = Path(paths["stdlib"])
        native = []
        for source in sorted(library.rglob("*")):
            parts = set(source.relative_to(library).parts)
            if source.is_file() and not parts & _LEFT_OUT and source.suffix != ".a":
                self.file(str(source), source)
                if source.suffix == ".so":
                    native.append(source)
        self.libraries(native)
        # Loaded by name, so no program lists it.
        self.folder("/usr/local/bin")
        for name in ("python", "python3"):
            self.link(f"/usr/local/bin/{name}", str(binary))
        return self

    def pip(self) -> Image:
        """pip beside that interpreter, and the libraries that wheels expect to be there."""
        library = Path(sysconfig.get_paths()["stdlib"]) / "site-packages" / "pip"
        source = Path(pip.__file__).parent
        for file in sorted(source.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                self.file(str(library / file.relative_to(source)), file)
        self.text("/usr/local/bin/pip", '#!/bin/sh\nexec python3 -m pip "$@"\n', mode=0o755)
        listed = run([tool("ldconfig"), "-p"], check=True).stdout
        for name in _WHEELS_NEED:
            found = re.search(rf"{re.escape(name)} .*=> (\S+)", listed)
            assert found, f"this machine has no {name}"
            if found[1].lstrip("/") not in self._there:
                self.file(found[1], found[1])
        return self

    # -- as the registry wants it ------------------------------------------------------------

    def push(self, registry: str, name: str, tag: str = "latest") -> str:
        """Push it to ``registry`` (host:port); the reference by digest comes back."""
        self._tar.close()
        layer = self._buffer.getvalue()
        config = json.dumps(
            {
                "architecture": _architecture(),
                "os": "linux",
                "created": "1970-01-01T00:00:00Z",
                "config": {
                    "Env": [
                        f"{k}={v}" for k, v in ({"PATH": _PATH} | {**self.environment}).items()
                    ],
                    "Entrypoint": list(self.entrypoint) or None,
                    "Cmd": list(self.command) or None,
                    "WorkingDir": self.workdir,
                    "User": self.user,
                },
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
                "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "tests"}],
            }
        ).encode()
        kind = "application/vnd.oci.image"
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(f"{kind}.config.v1+json", config),
                "layers": [_descriptor(f"{kind}.layer.v1.tar", layer)],
            }
        ).encode()
        connection = http.client.HTTPConnection(registry, timeout=60)
        try:
            for blob in (layer, config):
                place = _send(connection, "POST", f"/v2/{name}/blobs/uploads/", b"")
                url = urlsplit(place)
                path = f"{url.path}?{url.query}&digest={_digest(blob)}"
                _send(connection, "PUT", path, blob, "application/octet-stream")
            _send(connection, "PUT", f"/v2/{name}/manifests/{tag}", manifest, _MANIFEST)
        finally:
            connection.close()
        return f"{registry}/{name}@{_digest(manifest)}"

    def _file(
        self, path: str, content: bytes, mode: int, owner: int, capability: int | None = None
    ) -> None:
        self.folder(str(Path(path).parent))
        more = {} if capability is None else {_XATTR: _capable_of(capability)}
        self._add(path.lstrip("/"), tarfile.REGTYPE, mode, owner, content=content, more=more)

    def _add(
        self,
        name: str,
        kind: bytes,
        mode: int,
        owner: int,
        link: str = "",
        content: bytes = b"",
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.linkname, entry.size = kind, mode, link, len(content)
        entry.uid = entry.gid = owner
        entry.pax_headers = dict(more)
        self._tar.addfile(entry, io.BytesIO(content))
        self._there.add(name)


def _capable_of(capability: int) -> str:
    """The attribute that gives a program one capability, effective: VFS_CAP_REVISION_2."""
    value = struct.pack("<5I", 0x02000001, 1 << capability, 0, 0, 0)
    return value.decode("utf-8", "surrogateescape")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(kind: str, content: bytes) -> Mapping[str, object]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _architecture() -> str:
    machine = sysconfig.get_platform().rpartition("-")[2]
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes, kind: str = ""
) -> str:
    connection.request(method, path, body, {"Content-Type": kind} if kind else {})
    response = connection.getresponse()
    text = response.read()
    if response.status >= 300:
        raise OSError(f"{method} {path}: {response.status} {text[:500]!r}")
    return response.getheader("Location", "")
