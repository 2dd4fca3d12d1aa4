"""Manifests of images in a registry, by the OCI distribution API.

An image is named by digest, and so is deleted with all its tags. Of a registry's answers nothing
but the status, the code of an error, the sizes in manifests and the digest of one is used.
Credentials are those of Docker's ``config.json``; redirects are not followed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from reconciler.errors import ReconcilerError
from reconciler.http_client import Answer, CallError, Client, client
from reconciler.types import JSON

#: Seconds for one call.
_TIMEOUT = 15.0
#: Images that are read at a time.
_CONCURRENCY = 8
#: Platforms of an image whose sizes are read.
_MOST_PLATFORMS = 32
#: Statuses of a registry that refuses everything of the kind.
_REFUSALS = frozenset((401, 403, 405))
_LARGEST_CREDENTIALS = 1 << 20
_ACCEPTED = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_CHALLENGE = re.compile(r'([a-z_]+)="([^"]{0,2048})"')
_DOCKER_HUB = {"docker.io": ("registry-1.docker.io", "https://index.docker.io/v1/")}


class RegistryError(ReconcilerError):
    """A registry's refusal, or its silence (``silent``).

    With ``of_one`` it is about a single image, and says nothing of others.
    """

    def __init__(self, text: str, *, silent: bool = False, of_one: bool = False) -> None:
        super().__init__(text)
        self.silent = silent
        self.of_one = of_one


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRegistry:
    """A registry, by its host. Methods block.

    ``insecure``: plain HTTP, or a certificate that no known authority signed. ``credentials`` is a
    file as Docker's ``config.json``, read at each use.
    """

    host: str
    insecure: bool = False
    ca_file: Path | None = None
    credentials: Path | None = None

    def sizes(self, images: Iterable[str]) -> dict[str, int | RegistryError | None]:
        """Return the bytes of images; None for one that is certainly gone.

        They are by reference, and those of all layers, as the registry has them.
        """
        asked = dict.fromkeys(images)
        try:
            return asyncio.run(self._sizes(asked))
        except RegistryError as error:  # of what no registry was asked for, such as authorities
            return dict.fromkeys(asked, error)

    def delete(self, image: str, tags: Iterable[str]) -> bool:
        """Delete an image with its tags, unless it is gone.

        Each of ``tags`` must lead to it. Return whether its layers go with it: those of an index
        belong to the manifests that it lists, which stay. Raises RegistryError.
        """
        return asyncio.run(self._delete(image, tags))

    async def _sizes(self, images: Iterable[str]) -> dict[str, int | RegistryError | None]:
        found: dict[str, int | RegistryError | None] = {}
        waiting = iter(images)
        silent: list[RegistryError] = []

        async def read(session: _Session) -> None:
            for image in waiting:
                # A registry that has not answered once is not asked for each image.
                found[image] = silent[0] if silent else await size(session, image)

        async def size(session: _Session, image: str) -> int | RegistryError | None:
            try:
                return await session.size(*_parts(image))
            except RegistryError as error:
                if error.silent:
                    silent.append(error)
                return error

        async with self._session() as session, asyncio.TaskGroup() as tasks:
            for _ in range(_CONCURRENCY):
                tasks.create_task(read(session))
        return found

    async def _delete(self, image: str, tags: Iterable[str]) -> bool:
        repository, digest = _parts(image)
        async with self._session() as session:
            lists = [await session.lists(repository, tag, digest) for tag in tags]
            await session.delete(repository, digest)
        return not any(lists)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[_Session]:
        try:
            async with client(self.ca_file, verify=not self.insecure) as found:
                yield _Session(found, self)
        except CallError as error:
            raise RegistryError(str(error)) from error


def _parts(image: str) -> tuple[str, str]:
    """Return the repository of an image, without its host, and its digest."""
    name, _, digest = image.rpartition("@")
    return name.partition("/")[2], digest


@dataclass(slots=True)
class _Session:
    """Calls of one registry, with the tokens that it gave."""

    client: Client
    registry: ImageRegistry
    _base: str = ""
    _tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    async def size(self, repository: str, digest: str) -> int | None:
        """Return the bytes of an image; None without it. Raises RegistryError."""
        answer = await self._call("GET", repository, digest)
        if _is_gone(answer):
            return None
        manifest = _document(answer, self.registry.host)
        size = _content_size(manifest)
        platforms = manifest.get("manifests")
        for each in platforms[:_MOST_PLATFORMS] if isinstance(platforms, list) else ():
            inner = each.get("digest") if isinstance(each, dict) else None
            if isinstance(inner, str) and re.fullmatch(r"sha256:[0-9a-f]{64}", inner):
                found = await self._call("GET", repository, inner)
                if not _is_gone(found):
                    size += _content_size(_document(found, self.registry.host))
        return size

    async def lists(self, repository: str, tag: str, digest: str) -> bool:
        """Return whether a tag's manifest lists others.

        Raises RegistryError, also if the tag does not lead to the digest.
        """
        answer = await self._call("GET", repository, tag)
        found = None if _is_gone(answer) else _document(answer, self.registry.host)
        if found is None or f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest:
            text = f"the tag {tag[:12]} of {self.registry.host}/{repository} has another image"
            raise RegistryError(f"{text} than {digest[:19]}", of_one=True)
        return "manifests" in found

    async def delete(self, repository: str, digest: str) -> None:
        """Delete a manifest. Raises RegistryError."""
        answer = await self._call("DELETE", repository, digest)
        if not answer.fine and not _is_gone(answer):
            text = f"{self.registry.host} does not delete: {_told(answer)}"
            raise RegistryError(text, of_one=answer.status not in _REFUSALS)

    async def _call(self, method: str, repository: str, reference: str) -> Answer:
        """Send a request, with a token if one is asked for.

        Raises RegistryError.
        """
        path = f"/v2/{repository}/manifests/{reference}"
        known = self._tokens.get((method, repository))
        headers = {"Accept": _ACCEPTED}
        if known is not None:
            headers["Authorization"] = known
        answer = await self._send(method, path, headers)
        if answer.status != 401:
            return answer
        token = await self._token(answer.headers.get("www-authenticate", ""))
        if token is None:
            return answer
        self._tokens[method, repository] = token
        return await self._send(method, path, {**headers, "Authorization": token})

    async def _send(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        host = _DOCKER_HUB.get(self.registry.host, (self.registry.host,))[0]
        bases = (f"https://{host}", f"http://{host}") if self.registry.insecure else ()
        tried = (self._base,) if self._base else bases or (f"https://{host}",)
        for number, base in enumerate(tried, 1):
            try:
                answer = await self.client.call(
                    method, f"{base}{path}", headers=headers, timeout=_TIMEOUT
                )
            except CallError as error:
                if number < len(tried):
                    continue
                raise RegistryError(str(error), silent=True) from error
            self._base = base
            return answer
        raise AssertionError("unreachable")

    async def _token(self, challenge: str) -> str | None:
        """Return the authorization for a challenge; None without credentials.

        Raises RegistryError.
        """
        login = self._login()
        scheme, _, rest = challenge.partition(" ")
        asked = dict(_CHALLENGE.findall(rest))
        if scheme.lower() == "basic" or "realm" not in asked:
            return f"Basic {login}" if login is not None else None
        realm = asked["realm"]
        if not realm.startswith("https://") and not self.registry.insecure:
            raise RegistryError(f"{self.registry.host} asks for credentials without TLS")
        headers = {"Authorization": f"Basic {login}"} if login is not None else {}
        try:
            query = urlencode({each: asked[each] for each in ("service", "scope") if each in asked})
            url = f"{realm}{'&' if '?' in realm else '?'}{query}"
            answer = await self.client.call("GET", url, headers=headers, timeout=_TIMEOUT)
        except UnicodeEncodeError:
            text = f"{self.registry.host} asks for a token with text that is not UTF-8"
            raise RegistryError(text) from None
        except CallError as error:
            raise RegistryError(str(error)) from error
        if not answer.fine:
            raise RegistryError(f"{self.registry.host} gives no token: status {answer.status}")
        document = _document(answer, self.registry.host, of_one=False)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(f"{self.registry.host} gives no token")
        return f"Bearer {token}"

    def _login(self) -> str | None:
        """Return the base64 of user and password, None without any."""
        file, host = self.registry.credentials, self.registry.host
        if file is None:
            return None
        try:
            with file.open("rb") as opened:
                document = json.loads(opened.read(_LARGEST_CREDENTIALS))
            auths = document["auths"]
            names = (host, f"https://{host}", f"https://{host}/v2/", *_DOCKER_HUB.get(host, ()))
            entry = next((auths[name] for name in names if name in auths), None)
            if entry is None:
                return None
            if "auth" in entry:
                return base64.b64encode(base64.b64decode(entry["auth"])).decode()
            pair = f"{entry['username']}:{entry['password']}"
            return base64.b64encode(pair.encode()).decode()
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            # The text of the error may be of the file.
            why = type(error).__name__
            raise RegistryError(f"{file} is no config.json with credentials: {why}") from None


def _is_gone(answer: Answer) -> bool:
    """Return whether a registry says that a manifest is unknown.

    Some answer with 404 where they refuse, and name the repository then.
    """
    return answer.status == 404 and "MANIFEST_UNKNOWN" in _codes(answer)


def _codes(answer: Answer) -> list[str]:
    try:
        errors = json.loads(answer.body)["errors"]
        return [code for each in errors[:5] if re.fullmatch(r"[A-Z_]{1,40}", code := each["code"])]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _told(answer: Answer) -> str:
    codes = ", ".join(_codes(answer))
    return f"status {answer.status}" + (f", {codes}" if codes else "")


def _document(answer: Answer, host: str, *, of_one: bool = True) -> dict[str, JSON]:
    """Return the JSON object of an answer. Raises RegistryError.

    With ``of_one`` it is an answer about a single image.
    """
    if not answer.fine:
        text = f"{host} cannot be read: {_told(answer)}"
        raise RegistryError(text, of_one=of_one and answer.status not in _REFUSALS)
    try:
        found: JSON = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        text = f"{host} answers with something else than a JSON object"
        raise RegistryError(text, of_one=of_one)
    return found


def _content_size(manifest: dict[str, JSON]) -> int:
    """Return the bytes of a manifest's layers and configuration."""
    return _sum(manifest.get("layers")) + _sum([manifest.get("config")])


def _sum(parts: JSON) -> int:
    """Return the bytes of descriptors, as far as they are such."""
    found = 0
    for part in parts if isinstance(parts, list) else ():
        size = part.get("size") if isinstance(part, dict) else None
        if isinstance(size, int) and 0 < size < 1 << 50:
            found += size
    return found
