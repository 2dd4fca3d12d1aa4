"""Client of an API server.

It takes JSON and returns bytes, raises errors by class, and retries with a bound.

Configuration and credentials (kubeconfig, exec plugins, a pod's rotating token) are the
kubernetes package's; decoding is the caller's, as most of an answer is never read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlencode

import aiohttp

from reconciler import __version__
from reconciler.backoff import Backoff
from reconciler.engine import EngineError
from reconciler.engines.kubernetes.api_errors import ApiError, Unreachable, from_answer
from reconciler.http_client import environment_proxy
from reconciler.reasons import Reason, ReasonCode
from reconciler.types import JSON

#: Of one request, in seconds; a watch has no end of its own.
TIMEOUT = 30.0
#: Tries of a request that the server could not take, and the pauses between them.
TRIES = 4
RETRY = Backoff(first=0.5, longest=10.0)
#: A line of a watch; etcd takes no object larger than 1.5 MiB.
LONGEST_LINE = 4 << 20
#: Of requests; a watch has one of its own. asyncio keeps 256 KiB for each connection by TLS.
CONNECTIONS = 16
#: What aiohttp takes for a number of connections without a bound.
_NO_BOUND = 0
#: By which an administrator finds the daemon in an audit log.
USER_AGENT = f"model-reconciler/{__version__}"
#: Seconds for connections to close that cannot be awaited.
CLOSING = 0.05

Pause = Callable[[float], Awaitable[None]]
#: Called with the method and the HTTP status of each request, 0 without an answer.
Asked = Callable[[str, int], None]


class Api:
    """One API server, as one user.

    ``pause`` waits between two tries; ``asked`` is called after each. ``may_write`` is called
    before each request that changes anything, also before one is sent again. ``streams`` is the
    client of what has no end: watches, two for each namespace, would leave no connection for
    requests.
    """

    def __init__(
        self,
        client: Any,
        *,
        streams: Any = None,
        pause: Pause = asyncio.sleep,
        asked: Asked = lambda *_: None,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._streams = streams if streams is not None else client
        self._pause = pause
        self._asked = asked
        self._may_write = may_write

    @classmethod
    async def connect(
        cls,
        *,
        context: str | None = None,
        kubeconfig: str | None = None,
        pause: Pause = asyncio.sleep,
        asked: Asked = lambda *_: None,
    ) -> Api:
        """Connect by the kubeconfig, else by the service account of this pod.

        The kubeconfig is ``$KUBECONFIG`` unless another is given.

        Raises EngineError where neither says how.
        """
        # Imported here: it takes a second and 60 MB, and only this engine needs it.
        from kubernetes.aio import client  # noqa: PLC0415
        from kubernetes.aio import config as untyped  # noqa: PLC0415

        config: Any = untyped
        settings = client.Configuration()
        try:
            if context is None and kubeconfig is None and _in_cluster():
                config.load_incluster_config(client_configuration=settings)
            else:
                await config.load_kube_config(
                    config_file=kubeconfig, context=context, client_configuration=settings
                )
        except (config.ConfigException, OSError) as error:
            reason = Reason.of(ReasonCode.CLUSTER_NOT_FOUND, detail=str(error))
            raise EngineError(reason) from error
        settings.connection_pool_maxsize = CONNECTIONS
        # Else aiohttp looks for a proxy and reads ~/.netrc anew for each request, each in a thread,
        # and refuses to send the token where it finds the host in there.
        settings.client_session_kwargs = {"trust_env": False}
        settings.proxy = settings.proxy or environment_proxy(settings.host)
        # Its own retries wait for as long as a server says, without a bound.
        settings.retries = None
        settings.client_go_retries = False
        connected = client.ApiClient(settings)
        settings.connection_pool_maxsize = _NO_BOUND
        streams = client.ApiClient(settings)
        connected.user_agent = streams.user_agent = USER_AGENT
        return cls(connected, streams=streams, pause=pause, asked=asked)

    def guarded(self, may_write: Callable[[], bool]) -> Api:
        """Return a client by the same connections, guarded by ``may_write``."""
        return Api(
            self._client,
            streams=self._streams,
            pause=self._pause,
            asked=self._asked,
            may_write=may_write,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()
        await self._streams.close()
        # One whose request was cancelled while it was being made is closed by asyncio in later
        # turns of the loop, and never if there are none.
        await asyncio.sleep(CLOSING)

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Return the answer to a GET. Raises ApiError."""
        return await self._request("GET", path, query=query)

    async def tail(
        self, path: str, query: Mapping[str, str], *, longest: int
    ) -> tuple[bytes, bool]:
        """Return the end of a text, and whether its beginning was dropped.

        ``longest`` is the most bytes that are kept.

        It is read to its end, or for as long as a request may take. Raises ApiError.
        """
        limits = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            response = await self._send("GET", path, query=query, limits=limits, accept="*/*")
            async with response:
                end, size = bytearray(), 0
                async for chunk in response.content.iter_any():
                    size += len(chunk)
                    end += chunk
                    if len(end) > 2 * longest:
                        del end[:-longest]
                return bytes(end[-longest:]), size > longest
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from error

    @asynccontextmanager
    async def follow(
        self, path: str, query: Mapping[str, str], *, silence: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a text that grows, and yield its pieces. Raises ApiError.

        It ends after ``silence`` seconds without any: a connection that is half dead says nothing.
        """
        limits = aiohttp.ClientTimeout(total=None, connect=TIMEOUT, sock_read=silence)
        try:
            response = await self._send(
                "GET", path, query=query, limits=limits, accept="*/*", client=self._streams
            )
            try:
                yield _pieces(response)
            finally:
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from error

    async def create(
        self, path: str, body: Mapping[str, JSON], *, user: str | None = None
    ) -> bytes:
        """Create an object in a collection, as another ``user``. Raises ApiError.

        ApiConflict if an object of its name is there.
        A creation whose answer was lost is sent again, and may then conflict with itself.
        """
        return await self._request("POST", path, body=body, user=user)

    async def replace(self, path: str, body: Mapping[str, JSON]) -> bytes:
        """Replace an object that has not changed since its resourceVersion. Raises ApiError.

        It is sent once: whether an update that may have arrived should be sent again depends on
        what has become of the object.
        """
        return await self._request("PUT", path, body=body, tries=1)

    async def patch(self, path: str, body: Mapping[str, JSON]) -> bytes:
        """Merge a JSON merge patch into an object. Raises ApiError.

        ApiConflict if the patch names a resourceVersion that is not the object's any more.
        """
        return await self._request("PATCH", path, body=body, content="application/merge-patch+json")

    async def delete(self, path: str, body: Mapping[str, JSON]) -> None:
        """Delete an object, with DeleteOptions. Raises ApiError."""
        await self._request("DELETE", path, body=body)

    @asynccontextmanager
    async def watch(
        self, path: str, query: Mapping[str, str], *, silence: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch, and yield its lines.

        ``silence``: seconds that the server may send nothing.
        """
        limits = aiohttp.ClientTimeout(total=None, connect=TIMEOUT, sock_read=silence)
        try:
            response = await self._send(
                "GET", path, query=query, limits=limits, client=self._streams
            )
            try:
                yield _lines(response)
            finally:
                # At once: a graceful end of TLS would not be awaited.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error, f"the watch of {path} broke: ") from error

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, JSON] | None = None,
        user: str | None = None,
        content: str = "application/json",
        tries: int = TRIES,
    ) -> bytes:
        for attempt in range(1, tries + 1):
            if method != "GET" and not self._may_write():
                raise ApiError(Reason.of(ReasonCode.NOT_LEADING))
            try:
                return await self._once(
                    method, path, query=query, body=body, user=user, content=content
                )
            except Unreachable as error:
                if attempt == tries:
                    raise
                await self._pause(_delay(attempt, error))
        raise AssertionError("unreachable")  # the loop returns or raises

    async def _once(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: Mapping[str, JSON] | None,
        user: str | None,
        content: str,
    ) -> bytes:
        limits = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            response = await self._send(
                method, path, query=query, body=body, user=user, content=content, limits=limits
            )
            async with response:
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error) from error

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, JSON] | None = None,
        user: str | None = None,
        content: str = "application/json",
        limits: aiohttp.ClientTimeout,
        accept: str = "application/json",
        client: Any = None,
    ) -> aiohttp.ClientResponse:
        """Send a request; raise what is not a success."""
        client = client if client is not None else self._client
        given = {"Accept": accept} | ({"Impersonate-User": user} if user is not None else {})
        if content != "application/json":
            given["Content-Type"] = content
        _, url, headers, _, _ = await client.param_serialize(
            method,
            path,
            header_params=given,
            auth_settings=["BearerToken"],
        )
        if query:
            url = f"{url}?{urlencode(query)}"
        try:
            answer = await client.call_api(method, url, headers, body=body, _request_timeout=limits)
        except (aiohttp.ClientError, TimeoutError, OSError):
            self._asked(method, 0)
            raise
        response: aiohttp.ClientResponse = answer.response
        self._asked(method, response.status)
        if response.status >= 300:
            async with response:
                raise from_answer(
                    response.status, await response.content.read(64 << 10), _retry_after(response)
                )
        return response


async def _pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with suppress(TimeoutError):
        async for piece in response.content.iter_any():
            yield piece


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Iterate over complete lines; a line that breaks off is dropped."""
    pending = b""
    async for chunk in response.content.iter_any():
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(pending) > LONGEST_LINE:
            detail = f"the API server sent a line of more than {LONGEST_LINE} bytes"
            raise ApiError(Reason.of(ReasonCode.API_SERVER_REFUSED, detail=detail))


def _delay(attempt: int, error: ApiError) -> float:
    return RETRY.delay(attempt, at_least=min(error.retry_after or 0.0, RETRY.longest))


_COLLECTIONS = {
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Service": "/api/v1/namespaces/{}/services",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "PersistentVolume": "/api/v1/persistentvolumes",
}


def collection_of(rendered: Mapping[str, JSON]) -> str:
    """Return the path of the collection that a rendered object belongs to."""
    metadata = rendered["metadata"]
    assert isinstance(metadata, dict)  # as it was rendered
    return _COLLECTIONS[str(rendered["kind"])].format(metadata.get("namespace"))


def delete_options(uid: str, *, pods_first: bool = False) -> dict[str, JSON]:
    """Return DeleteOptions for an object by its UID.

    Its pods go in the background, or ``pods_first``: the object stays until they are gone.
    """
    return {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground" if pods_first else "Background",
        "preconditions": {"uid": uid},
    }


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    try:
        return float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None


def _unreachable(error: Exception, context: str = "") -> Unreachable:
    detail = f"{context}{str(error) or type(error).__name__}"
    return Unreachable(Reason.of(ReasonCode.API_SERVER_UNREACHABLE, detail=detail))


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
