"""Servers of cloud buckets that are folders of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.cluster.build import built
from tests.cluster.ports import free
from tests.e2e.site import until
from tests.needs import unavailable
from tests.servers import Handler, Serving

BUCKET = "models"


@dataclass(frozen=True)
class StoreServer:
    """A bucket's ``url``, its ``folder``, and the ``environment`` that reads it."""

    url: str
    folder: Path
    environment: Mapping[str, str]


@contextmanager
def s3_server(root: Path, *, cached: str = "0s") -> Iterator[StoreServer]:
    """An S3 server: rclone's own.

    A listing is ``cached`` for so long. With 0s files may be written beside the server; but then it
    stops answering, some time, when the last file of a folder is deleted (rclone 1.76).
    """
    rclone = built("node").get("rclone")
    if rclone is None:
        unavailable("rclone is not built: make cluster-build")
    (root / BUCKET).mkdir(parents=True)
    address = f"127.0.0.1:{free(1)[0]}"
    command = [str(rclone), "--config=/dev/null", "serve", "s3", f"--addr={address}"]
    process = subprocess.Popen(
        [*command, "--auth-key=key,secret", f"--dir-cache-time={cached}", str(root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(address), what="the S3 server")
        environment = {
            "AWS_ENDPOINT_URL": f"http://{address}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        yield StoreServer(f"s3://{BUCKET}", root / BUCKET, environment)
    finally:
        process.kill()
        process.wait()


def _answers(address: str) -> bool:
    connection = HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except OSError:
        return False
    else:
        return True
    finally:
        connection.close()


@contextmanager
def gcs_server(root: Path) -> Iterator[StoreServer]:
    """A stand-in for Google Cloud Storage: objects and lists of its XML API."""
    (root / BUCKET).mkdir(parents=True)
    server = _Gcs(root)
    environment = {
        "GOOGLE_BASE_URL": f"http://127.0.0.1:{server.port}",
        "GOOGLE_SKIP_SIGNATURE": "true",
    }
    try:
        yield StoreServer(f"gs://{BUCKET}", root / BUCKET, environment)
    finally:
        server.close()


class _Gcs(Serving):
    def __init__(self, root: Path) -> None:
        class Objects(_Objects):
            folder = root

        self.serve(ThreadingHTTPServer(("127.0.0.1", 0), Objects))


class _Objects(Handler):
    folder: Path

    def do_HEAD(self) -> None:  # noqa: N802 -- http.server has it so
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802
        parts = urlsplit(self.path)
        bucket, _, name = unquote(parts.path).lstrip("/").partition("/")
        if not name:
            prefix = parse_qs(parts.query).get("prefix", [""])[0]
            self.answer(200, [("Content-Type", "application/xml")], self._list(bucket, prefix))
            return
        file = self.folder / bucket / name
        if not file.is_file():
            self.answer(404)
            return
        content, status = file.read_bytes(), 200
        headers: list[tuple[str, str]] = []
        if (asked := self.headers.get("Range")) is not None:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(content), len(content))
            headers.append(("Content-Range", f"bytes {first}-{end - 1}/{len(content)}"))
            content, status = content[int(first) : end], 206
        self._send(status, [*headers, *self._of(file)], content)

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _of(self, file: Path) -> list[tuple[str, str]]:
        changed = file.stat().st_mtime
        return [("Last-Modified", formatdate(changed, usegmt=True)), ("ETag", f'"{changed}"')]

    def _list(self, bucket: str, prefix: str) -> bytes:
        root = self.folder / bucket
        files = sorted(path for path in root.rglob("*") if path.is_file())
        entries = "".join(
            f"<Contents><Key>{escape(path.relative_to(root).as_posix())}</Key>"
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>e</ETag>"
            f"<Size>{path.stat().st_size}</Size></Contents>"
            for path in files
            if path.relative_to(root).as_posix().startswith(prefix)
        )
        return f"<ListBucketResult>{entries}</ListBucketResult>".encode()
