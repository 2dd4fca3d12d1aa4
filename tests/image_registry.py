"""A registry of one image, from which Docker and Podman pull by the OCI protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import ThreadingHTTPServer

from tests.servers import Handler, Serving

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


class ImageRegistry(Serving):
    """Serves the image whose only layer is ``layer``, a tar archive, as ``reference``."""

    def __init__(self, layer: bytes) -> None:
        digest = _digest(layer)
        config = _json(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"WorkingDir": "/", "Env": ["PATH=/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [digest]},
            }
        )
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {"mediaType": _CONFIG, **_descriptor(config)},
                "layers": [{"mediaType": _LAYER, **_descriptor(layer)}],
            }
        )
        blobs = {_digest(data): data for data in (layer, config, manifest)}

        class Answers(Handler):
            def do_GET(self) -> None:  # noqa: N802
                *_, kind, name = self.path.split("/")
                if self.path == "/v2/":
                    self.answer(200)
                elif name not in blobs:
                    self.answer(404)
                else:
                    media = _MANIFEST if kind == "manifests" else "application/octet-stream"
                    headers = [("Content-Type", media), ("Docker-Content-Digest", name)]
                    self.answer(200, headers, b"" if self.command == "HEAD" else blobs[name])

            do_HEAD = do_GET  # noqa: N815

        self.serve(ThreadingHTTPServer(("127.0.0.1", 0), Answers))
        self.host = f"127.0.0.1:{self.port}"
        self.reference = f"{self.host}/team/base@{_digest(manifest)}"


@contextmanager
def image_registry(layer: bytes) -> Iterator[ImageRegistry]:
    """Serve an image during the block."""
    with closing(ImageRegistry(layer)) as registry:
        yield registry


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(data: bytes) -> dict[str, object]:
    return {"digest": _digest(data), "size": len(data)}
