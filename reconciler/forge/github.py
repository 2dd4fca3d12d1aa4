"""GitHub's REST API, and Gitea's and Forgejo's, which differ from it in a few words.

Paths and fields are those of GitHub's published description (version 2022-11-28) and of Gitea's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta, Struct

from reconciler.errors import Trouble
from reconciler.forge.port import Comment, ForgeError, PullRequest
from reconciler.outbound import Answer, CallError, Client
from reconciler.review.escape import printable
from reconciler.review.verdict import Judgement, Verdict
from reconciler.types import JSON, Commit

#: The longest that it is left alone at its own request, in seconds: GitHub counts by the hour.
LONGEST_PAUSE = 3600.0
#: Pages of comments that are looked through for ours, which is among the first.
_MOST_PAGES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs: how a token is presented, and what pages and orders are called."""

    scheme: str
    headers: Mapping[str, str]
    limit: str
    page: int
    newest_first: Mapping[str, str]


GITHUB = Dialect(
    scheme="Bearer",
    headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
    limit="per_page",
    page=100,
    newest_first={"sort": "updated", "direction": "desc"},
)
GITEA = Dialect(
    scheme="token",
    headers={"Accept": "application/json"},
    limit="limit",
    page=50,
    newest_first={"sort": "recentupdate"},
)

_Sha = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
_Id = Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]


class _User(Struct):
    id: _Id
    type: str = ""


class _Head(Struct):
    sha: _Sha


class _Base(Struct):
    ref: Annotated[str, Meta(min_length=1, max_length=255)]


class _Pull(Struct):
    number: Annotated[int, Meta(ge=1, le=1 << 31)]
    head: _Head
    base: _Base


class _Comment(Struct):
    id: _Id
    body: str | None = None
    user: _User | None = None


class _Status(Struct):
    context: str = ""
    state: str | None = None
    status: str | None = None  # Gitea's name of it
    description: str | None = None


class _Combined(Struct):
    statuses: list[_Status] | None = None


T = TypeVar("T")


@dataclass(slots=True)
class GitHub:
    """A repository at ``api``; ``token`` is called at each request, as it may rotate.

    ``context`` is what its statuses are called.
    """

    client: Client
    api: str
    repository: str
    token: Callable[[], str]
    context: str
    dialect: Dialect = GITHUB
    _known: tuple[str, str, list[PullRequest]] | None = None
    _me: int | None = None
    _unnamed: bool = False
    _path: str = field(init=False)

    def __post_init__(self) -> None:
        self._path = f"/repos/{quote(self.repository)}"

    async def open_requests(self, target: str, most: int) -> Sequence[PullRequest]:
        """As the port says. A list that has not changed is not sent, nor counted, again."""
        dialect, found = self.dialect, list[PullRequest]()
        for number in range(1, -(-most // dialect.page) + 1):
            query = {"state": "open", **dialect.newest_first, "base": target}
            query |= {dialect.limit: str(dialect.page), "page": str(number)}
            path = f"{self._path}/pulls?{urlencode(query)}"
            known = self._known if number == 1 else None
            tag = known[1] if known is not None and known[0] == path else None
            answer = await self._ask("GET", path, tag=tag)
            if answer.status == HTTPStatus.NOT_MODIFIED and known is not None:
                return known[2]
            page = _decode(answer, list[msgspec.Raw])
            found += [pull for raw in page[: dialect.page] if (pull := _pull(raw)) is not None]
            if number == 1:
                tag = answer.headers.get("etag") if len(page) < dialect.page else None
                self._known = (path, tag, found) if tag and len(tag) < 500 else None
            if len(page) < dialect.page:
                break
        return [pull for pull in found if pull.target == target][:most]

    async def verdict(self, commit: Commit) -> Verdict | None:
        """As the port says."""
        path = f"{self._path}/commits/{commit}/status?{self.dialect.limit}={self.dialect.page}"
        combined = _decode(await self._ask("GET", path), _Combined)
        for status in combined.statuses or ():
            state = status.state or status.status
            if status.context == self.context and state in list(Judgement):
                return Verdict(Judgement(state), status.description or "")
        return None

    async def judge(self, commit: Commit, verdict: Verdict) -> None:
        """As the port says."""
        payload: dict[str, JSON] = {
            "state": verdict.state.value,
            "description": verdict.description,
            "context": self.context,
        }
        await self._ask("POST", f"{self._path}/statuses/{commit}", payload)

    async def own_comment(self, number: int, marker: str) -> Comment | None:
        """As the port says. Somebody else's comment with our marker in it is not ours."""
        me = await self._whoami()
        dialect = self.dialect
        seen = 0
        for page in range(1, _MOST_PAGES + 1):
            query = urlencode({dialect.limit: dialect.page, "page": page})
            path = f"{self._path}/issues/{number}/comments?{query}"
            comments = _decode(await self._ask("GET", path), list[_Comment])
            for comment in comments:
                if (comment.body or "").startswith(marker) and self._is_mine(comment, me):
                    return Comment(comment.id, comment.body or "")
            # Gitea has all of them on its first page, and again on every other.
            if len(comments) != dialect.page or (comments and comments[0].id == seen):
                return None
            seen = comments[0].id
        return None

    async def comment(self, number: int, body: str) -> Comment:
        """As the port says."""
        answer = await self._ask("POST", f"{self._path}/issues/{number}/comments", {"body": body})
        made = _decode(answer, _Comment)
        return Comment(made.id, body)

    async def edit(self, number: int, comment: Comment, body: str) -> Comment | None:
        """As the port says; a comment's id says which request it is on."""
        path = f"{self._path}/issues/comments/{comment.id}"
        try:
            await self._ask("PATCH", path, {"body": body})
        except ForgeError as error:
            if error.trouble is Trouble.MISSING:
                return None
            raise
        return Comment(comment.id, body)

    # -- asking ----------------------------------------------------------------------------

    async def _whoami(self) -> int | None:
        """Whose the token is; an app's own token may not ask."""
        if self._me is None and not self._unnamed:
            try:
                self._me = _decode(await self._ask("GET", "/user"), _User).id
            except ForgeError as error:
                if error.trouble is not Trouble.REFUSED or self.dialect is not GITHUB:
                    raise
                self._unnamed = True
        return self._me

    def _is_mine(self, comment: _Comment, me: int | None) -> bool:
        if comment.user is None:
            return False
        return comment.user.id == me if me is not None else comment.user.type == "Bot"

    async def _ask(
        self,
        method: str,
        path: str,
        payload: Mapping[str, JSON] | None = None,
        *,
        tag: str | None = None,
    ) -> Answer:
        headers = dict(self.dialect.headers)
        headers["Authorization"] = f"{self.dialect.scheme} {self.token()}"
        body = None
        if payload is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(payload).encode()
        if tag is not None:
            headers["If-None-Match"] = tag
        try:
            answer = await self.client.call(method, self.api + path, headers=headers, body=body)
        except CallError as error:
            raise ForgeError(str(error), error.trouble) from error
        if answer.fine or (tag is not None and answer.status == HTTPStatus.NOT_MODIFIED):
            return answer
        raise _refusal(answer, f"{method} {path.partition('?')[0]}")


def _pull(raw: msgspec.Raw) -> PullRequest | None:
    """One of the list; what is not of the form that is described is left out of it."""
    try:
        pull = msgspec.json.decode(raw, type=_Pull)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return PullRequest(
        number=pull.number,
        head=Commit(pull.head.sha),
        target=pull.base.ref,
        ref=f"refs/pull/{pull.number}/head",
    )


def _decode(answer: Answer, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ForgeError(
            f"its answer is not of the form that is described: {printable(str(error))[:200]}",
            Trouble.OTHER,
        ) from error


_TROUBLES: Mapping[int, Trouble] = {
    HTTPStatus.UNAUTHORIZED: Trouble.REFUSED,
    HTTPStatus.FORBIDDEN: Trouble.REFUSED,
    HTTPStatus.NOT_FOUND: Trouble.MISSING,
    HTTPStatus.GONE: Trouble.MISSING,
    HTTPStatus.CONFLICT: Trouble.CONFLICT,
    HTTPStatus.REQUEST_TIMEOUT: Trouble.TIMEOUT,
}


def _refusal(answer: Answer, what: str) -> ForgeError:
    """What an answer means that is not a yes."""
    status, pause = answer.status, _pause(answer)
    said = _message(answer.body)
    told = f"{what} was answered with {status}{f' ({said})' if said else ''}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.FORBIDDEN and pause):
        return ForgeError(f"{told}: too many calls", Trouble.LIMITED, pause=pause or 60.0)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ForgeError(told, Trouble.UNREACHABLE, pause=pause)
    if 300 <= status < 400:
        told = f"{told}: it sends on to another place, which is not followed"
    trouble = _TROUBLES.get(status, Trouble.REJECTED)
    lasting = trouble in (Trouble.MISSING, Trouble.REJECTED)
    return ForgeError(told, trouble, pause=pause, lasting=lasting)


def _pause(answer: Answer) -> float:
    """For how long it wants to be left alone: Retry-After, or the end of a limit that is used up.

    ``x-ratelimit-reset`` is in seconds since 1970.
    """
    if "retry-after" in answer.headers:
        return answer.pause(1.0, LONGEST_PAUSE)
    reset = answer.headers.get("x-ratelimit-reset", "")
    if answer.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit() and len(reset) < 12:
        return min(max(int(reset) - time.time(), 1.0), LONGEST_PAUSE)
    return 0.0


def _message(body: bytes) -> str:
    """What it says is wrong, for the log."""
    try:
        said = json.loads(body[:100_000])
    except (ValueError, RecursionError):
        return ""
    message = said.get("message") if isinstance(said, dict) else None
    return printable(message)[:200] if isinstance(message, str) else ""
