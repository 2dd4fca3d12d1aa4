"""Files in cloud buckets, with the environment's credentials.

A daemon reads a bucket for a scrub, and changes one for a collection; it needs credentials for
nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

#: Which stores can be read, and in which variables their credentials are.
SCHEMES = {"s3": "AWS_*", "gs": "GOOGLE_*", "az": "AZURE_*"}
#: Which of these variables are a credential, or the way to one, for the client. A region, an
#: authority, an address or a profile is none.
_CREDENTIALS = {
    "s3": re.compile(
        "AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|(SESSION_)?TOKEN|WEB_IDENTITY_TOKEN_FILE|ROLE_ARN"
        "|CONTAINER_CREDENTIALS_(FULL|RELATIVE)_URI|SKIP_SIGNATURE)"
    ),
    "gs": re.compile(
        "GOOGLE_(APPLICATION_CREDENTIALS|SERVICE_ACCOUNT(_PATH|_KEY)?|SKIP_SIGNATURE)"
    ),
    "az": re.compile("AZURE_.*(KEY|TOKEN|SAS|SECRET|CLIENT|MSI|IDENTITY|CLI|SIGNATURE).*"),
}
#: Variables with the address of a server in the provider's place.
_ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL"}

#: Files of a folder that are looked at; a folder of logs has one for each attempt.
_MOST_NAMES = 1_000


class StoreError(ReconcilerError):
    """A bucket's file that cannot be read from here."""


class Missing(StoreError):
    """There is no such file."""


def has_credentials(url: str) -> bool:
    """Return whether the environment names credentials for a bucket's scheme.

    Without, a client may ask the machine's own network for some.
    """
    known = _CREDENTIALS.get(urlsplit(url).scheme)
    return known is not None and any(map(known.fullmatch, os.environ))


def whole(url: str) -> Iterator[bytes]:
    """A file, piece by piece. Raises StoreError."""
    import obstore  # noqa: PLC0415 -- half of what a command without it takes to start

    with _one_line_errors(url):
        store, path = _open(url)
        for piece in obstore.get(store, path):
            yield bytes(piece)


def end(url: str, longest: int) -> bytes:
    """The last bytes of a file, at most so many. Raises StoreError."""
    import obstore  # noqa: PLC0415

    with _one_line_errors(url):
        store, path = _open(url)
        size = obstore.head(store, path)["size"]
        start = max(0, size - longest)
        return bytes(obstore.get_range(store, path, start=start, end=size)) if size else b""


def names(folder: str) -> list[str]:
    """The names of a folder's files, at most 1,000.

    Raises StoreError.
    """
    import obstore  # noqa: PLC0415

    with _one_line_errors(folder):
        store, path = _open(folder)
        page = next(iter(obstore.list(store, prefix=path, chunk_size=_MOST_NAMES)), ())
        return [file["path"].rpartition("/")[2] for file in page]


def sizes(folder: str) -> dict[str, int]:
    """Return the size of each file below a folder. Raises StoreError.

    They are in bytes, by the path in the folder.
    """
    import obstore  # noqa: PLC0415

    with _one_line_errors(folder):
        store, path = _open(folder)
        listed = (file for page in obstore.list(store, prefix=path) for file in page)
        return {file["path"].removeprefix(f"{path}/"): file["size"] for file in listed}


def copy(url: str, to: str) -> None:
    """Copy a file within its bucket. Raises StoreError."""
    import obstore  # noqa: PLC0415

    with _one_line_errors(url):
        store, path = _open(url)
        obstore.copy(store, path, _open(to)[1])


def delete(folder: str, paths: Sequence[str]) -> None:
    """Delete files below a folder, each for good. Raises StoreError."""
    import obstore  # noqa: PLC0415

    with _one_line_errors(folder):
        store, place = _open(folder)
        for start in range(0, len(paths), _MOST_NAMES):
            obstore.delete(
                store, [f"{place}/{path}" for path in paths[start : start + _MOST_NAMES]]
            )


def _open(url: str) -> tuple[ObjectStore, str]:
    """The bucket of a URL, and the path in it."""
    from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415

    parts = urlsplit(url)
    bucket, path = parts.netloc, unquote(parts.path).strip("/")
    # An endpoint without TLS is explicit, and the user's decision.
    endpoint = os.environ.get(_ENDPOINTS.get(parts.scheme, ""), "")
    client: ClientConfig = {"allow_http": endpoint.startswith("http://")}
    retry: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}
    match parts.scheme:
        case "s3":
            # Not every server of S3 answers a request to delete many files.
            config: S3Config = {"disable_bulk_delete": True}
            return S3Store(bucket, config=config, client_options=client, retry_config=retry), path
        case "gs":
            return GCSStore(bucket, client_options=client, retry_config=retry), path
        case "az":
            return AzureStore(bucket, retry_config=retry), path
        case _:
            readable = " and ".join(f"{scheme}://" for scheme in SCHEMES)
            raise StoreError(f"{url} cannot be read from here: only {readable} can")


@contextmanager
def _one_line_errors(url: str) -> Iterator[None]:
    """Raise a store's errors as StoreErrors of one line."""
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"there is no {url}") from error
    except (BaseError, OSError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise StoreError(
            f"{url} cannot be read ({why}); credentials are taken from "
            f"{SCHEMES[urlsplit(url).scheme]} in the environment"
        ) from error
