"""HTTP calls to untrusted hosts, bounded in time and size.

Redirects are not followed, so that a secret in a header stays with the host it is for. Nothing of
an answer but its status reaches an error's message, and of a URL only the host.
"""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from reconciler import __version__
from reconciler.errors import ReconcilerError, Trouble

#: Seconds for a whole call, with its answer.
TIMEOUT = 30.0
#: The largest answer that is read, in bytes.
LARGEST_ANSWER = 8 << 20


class CallError(ReconcilerError):
    """A call without an answer, or with one larger than `LARGEST_ANSWER`."""

    def __init__(self, message: str, trouble: Trouble) -> None:
        super().__init__(message)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Answer:
    """A host's answer; ``headers`` are by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def fine(self) -> bool:
        """Return whether the status is one of success."""
        return 200 <= self.status < 300

    def pause(self, default: float, longest: float) -> float:
        """Return the seconds of ``Retry-After``, at least default and at most longest."""
        text = self.headers.get("retry-after", "")
        asked = float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
        return min(max(asked, default), longest)


class Client:
    """An HTTP client. Safe for several calls at a time."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 -- of the connection's own deadline
    ) -> Answer:
        """Send a request and read the whole answer. Raises CallError."""
        host = ""
        try:
            host = urlsplit(url).hostname or ""
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=body,
                allow_redirects=False,
                proxy=environment_proxy(url),
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                data = bytearray()
                async for part in response.content.iter_chunked(64 << 10):
                    data += part
                    if len(data) > LARGEST_ANSWER:
                        raise CallError(
                            f"{host} answered with more than {LARGEST_ANSWER:,} bytes",
                            Trouble.REJECTED,
                        )
                found = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, found, bytes(data))
        except TimeoutError:
            late = f"{host} did not answer within {timeout:g} s"
            raise CallError(late, Trouble.TIMEOUT) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Some of these quote the URL, which may be a secret.
            why, trouble = _cause(error)
            raise CallError(f"{host or 'the host'} cannot be asked: {why}", trouble) from None


def _cause(error: Exception) -> tuple[str, Trouble]:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted; see tls.caFile", Trouble.UNTRUSTED
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error.strerror or "no connection"), Trouble.UNREACHABLE
    if isinstance(error, OSError) and error.strerror:
        return error.strerror, Trouble.UNREACHABLE
    return type(error).__name__, Trouble.UNREACHABLE


def environment_proxy(url: str) -> str | None:
    """Return the environment's proxy for a URL.

    Nothing else is taken from the environment.
    """
    split = urlsplit(url)
    if urllib.request.proxy_bypass(split.hostname or ""):
        return None
    return urllib.request.getproxies().get(split.scheme)


@asynccontextmanager
async def client(ca_file: Path | None = None, *, verify: bool = True) -> AsyncIterator[Client]:
    """Open a client that trusts the authorities in ``ca_file`` too.

    Without ``verify`` it trusts any certificate. Raises CallError if the file cannot be read.
    """
    try:
        trusted = ssl.create_default_context()
        if not verify:
            trusted.check_hostname = False
            trusted.verify_mode = ssl.CERT_NONE
        if ca_file is not None:
            trusted.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        text = f"{ca_file} holds no certificates: {error}"
        raise CallError(text, Trouble.UNTRUSTED) from error
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trusted, limit=8),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"reconciler/{__version__}", "Accept-Encoding": "identity"},
    ) as session:
        yield Client(session)
