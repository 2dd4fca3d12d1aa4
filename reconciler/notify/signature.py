"""The headers by which a receiver believes a delivery.

Two customs are served at once: GitHub's ``X-Hub-Signature-256`` over the body, and Standard
Webhooks, whose signature also covers an id and the time, so that an old one cannot be sent again.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = b"whsec_"


def signing_key(secret: bytes) -> bytes:
    """The key in a secret: itself, or what follows ``whsec_`` in base64, as generators write it."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            return secret
    return secret


def delivery_headers(
    body: bytes, *, name: str, seconds: int, secret: bytes | None
) -> dict[str, str]:
    """The headers of a delivery called ``name``, sent at ``seconds`` since 1970.

    A delivery that is tried again keeps its name, and has a new time. Without a secret nothing
    is signed.
    """
    headers = {"webhook-id": name, "webhook-timestamp": str(seconds)}
    if secret is not None:
        key = signing_key(secret)
        content = b".".join((name.encode(), str(seconds).encode(), body))
        standard = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        headers["X-Hub-Signature-256"] = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
        headers["webhook-signature"] = f"v1,{standard}"
    return headers
