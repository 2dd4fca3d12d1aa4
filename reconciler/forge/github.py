"""GitHub's REST API, and Gitea's and Forgejo's variants of it.

Paths and fields are those of GitHub's published description (version 2022-11-28) and of Gitea's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from msgspec import Raw, Struct

from reconciler.errors import Trouble
from reconciler.forge.interface import Comment, ForgeError, OwnRequest, PullRequest
from reconciler.forge.rest import Branch, Id, Number, PagedList, Rest, Sha, decode, items
from reconciler.http_client import Client
from reconciler.review import CommitState, CommitStatus
from reconciler.types import JSON, Commit

#: Pages of comments that are looked through for ours, which is among the first.
_MOST_PAGES = 10
#: Pages of the latest pull requests in which those of a branch are looked for.
_REQUEST_PAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Differences between the APIs: the token's header, pages, orders."""

    scheme: str
    headers: Mapping[str, str]
    limit: str
    page: int
    newest_first: Mapping[str, str]
    target: str


GITHUB = Dialect(
    scheme="Bearer",
    headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
    limit="per_page",
    page=100,
    newest_first={"sort": "updated", "direction": "desc"},
    target="base",
)
GITEA = Dialect(
    scheme="token",
    headers={"Accept": "application/json"},
    limit="limit",
    page=50,
    newest_first={"sort": "recentupdate"},
    target="base_branch",  # older versions list the requests into all branches
)


class _User(Struct):
    id: Id
    type: str = ""


class _Repository(Struct):
    id: Id


class _Head(Struct):
    sha: Sha
    ref: str = ""
    label: str = ""
    repo: _Repository | None = None

    @property
    def branch(self) -> str:
        """The name of the branch.

        Of a branch that was deleted, Gitea's ``ref`` is the ref of the request.
        """
        return self.label if self.ref.startswith("refs/") else self.ref


class _Base(Struct):
    ref: Branch
    repo: _Repository | None = None


class _Pull(Struct):
    number: Number
    head: _Head
    base: _Base


class _OwnPull(Struct):
    number: Number
    head: _Head
    base: _Base
    title: str = ""
    body: str | None = None
    state: str = ""
    user: _User | None = None


class _Comment(Struct):
    id: Id
    body: str | None = None
    user: _User | None = None


class _Status(Struct):
    context: str = ""
    state: str | None = None
    status: str | None = None  # Gitea's name of the state
    description: str | None = None


class _Combined(Struct):
    statuses: list[_Status] | None = None


class GitHub:
    """A repository of GitHub, Gitea or Forgejo at ``api``, as a Forge.

    ``token`` is called at each request, as it may rotate. ``context`` is the name of our statuses.
    """

    def __init__(
        self,
        client: Client,
        api: str,
        repository: str,
        token: Callable[[], str],
        *,
        context: str,
        dialect: Dialect = GITHUB,
    ) -> None:
        self._dialect = dialect
        self._rest = Rest(
            client,
            api,
            lambda: {**dialect.headers, "Authorization": f"{dialect.scheme} {token()}"},
        )
        self._path = f"/repos/{quote(repository)}"
        self._context = context
        self._first_page = PagedList()
        self._me: int | None = None
        self._unnamed = False

    async def open_requests(self, target: str, most: int) -> Sequence[PullRequest]:
        """List the open pull requests into ``target``, newest activity first."""
        found, page = list[_Pull](), self._dialect.page
        for number in range(1, -(-most // page) + 1):
            query = {"state": "open", **self._dialect.newest_first, self._dialect.target: target}
            path = f"{self._path}/pulls?{urlencode(query)}&{self._page(number)}"
            listed = await (self._first_page if number == 1 else PagedList()).read(self._rest, path)
            found += items(listed[:page], _Pull)
            if len(listed) < page:
                break
        return [_request(pull) for pull in found if pull.base.ref == target][:most]

    async def status(self, commit: Commit) -> CommitStatus | None:
        """Return the status that we set on a commit, or None."""
        path = f"{self._path}/commits/{commit}/status?{self._page(1)}"
        combined = decode(await self._rest.ask("GET", path), _Combined)
        for status in combined.statuses or ():
            state = status.state or status.status
            if status.context == self._context and state in list(CommitState):
                return CommitStatus(CommitState(state), status.description or "")
        return None

    async def set_status(self, request: PullRequest, commit: Commit, status: CommitStatus) -> None:
        """Set a commit's status, replacing our earlier one."""
        payload: dict[str, JSON] = {
            "state": status.state.value,
            "description": status.description,
            "context": self._context,
        }
        await self._rest.ask("POST", f"{self._path}/statuses/{commit}", payload)

    async def own_comment(self, number: int, marker: str) -> Comment | None:
        """Return the first comment with the marker whose author we are."""
        me = await self._whoami()
        seen = 0
        for page in range(1, _MOST_PAGES + 1):
            path = f"{self._path}/issues/{number}/comments?{self._page(page)}"
            comments = decode(await self._rest.ask("GET", path), list[_Comment])
            for comment in comments:
                if (comment.body or "").startswith(marker) and _is_mine(comment, me):
                    return Comment(comment.id, comment.body or "")
            # Gitea has all of them on its first page, and again on every other.
            if len(comments) != self._dialect.page or comments[0].id == seen:
                return None
            seen = comments[0].id
        return None

    async def comment(self, number: int, body: str) -> Comment:
        """Write a comment on a request."""
        path = f"{self._path}/issues/{number}/comments"
        made = decode(await self._rest.ask("POST", path, {"body": body}), _Comment)
        return Comment(made.id, body)

    async def edit(self, number: int, comment: Comment, body: str) -> Comment | None:
        """Replace a comment's text; None where the comment is gone.

        The id of a comment is unique in the repository, so ``number`` is not needed.
        """
        path = f"{self._path}/issues/comments/{comment.id}"
        try:
            await self._rest.ask("PATCH", path, {"body": body})
        except ForgeError as error:
            if error.trouble is Trouble.MISSING:
                return None
            raise
        return Comment(comment.id, body)

    async def own_requests(self, target: str, branch: str) -> Sequence[OwnRequest]:
        """List our requests to merge ``branch`` into ``target``.

        Open or not, the newest first.
        """
        me, found = await self._whoami(), list[OwnRequest]()
        for number in range(1, _REQUEST_PAGES + 1):
            query = {"state": "all", **self._dialect.newest_first, self._dialect.target: target}
            path = f"{self._path}/pulls?{urlencode(query)}&{self._page(number)}"
            listed = decode(await self._rest.ask("GET", path), list[Raw])
            for pull in items(listed[: self._dialect.page], _OwnPull):
                if (pull.head.branch, pull.base.ref) == (branch, target) and _is_mine(pull, me):
                    found.append(_own(pull))
            if len(listed) < self._dialect.page:
                break
        return sorted(found, key=lambda request: -request.number)

    async def open(self, target: str, branch: str, title: str, body: str) -> OwnRequest:
        """Open a request to merge a branch of the repository itself."""
        payload: dict[str, JSON] = {"title": title, "body": body, "head": branch, "base": target}
        made = await self._rest.ask("POST", f"{self._path}/pulls", payload)
        return _own(decode(made, _OwnPull))

    async def revise(self, number: int, title: str, body: str) -> None:
        """Replace the title and the text of our request."""
        await self._rest.ask(
            "PATCH", f"{self._path}/pulls/{number}", {"title": title, "body": body}
        )

    async def close(self, number: int) -> None:
        """Close our request without a merge."""
        await self._rest.ask("PATCH", f"{self._path}/pulls/{number}", {"state": "closed"})

    async def _whoami(self) -> int | None:
        """Return the id of the token's user, or None.

        An app's own token may not ask for it.
        """
        if self._me is None and not self._unnamed:
            try:
                self._me = decode(await self._rest.ask("GET", "/user"), _User).id
            except ForgeError as error:
                if error.trouble is not Trouble.REFUSED or self._dialect is not GITHUB:
                    raise
                self._unnamed = True
        return self._me

    def _page(self, number: int) -> str:
        return urlencode({self._dialect.limit: self._dialect.page, "page": number})


def _is_mine(found: _Comment | _OwnPull, me: int | None) -> bool:
    if found.user is None:
        return False
    return found.user.id == me if me is not None else found.user.type == "Bot"


def _own(pull: _OwnPull) -> OwnRequest:
    return OwnRequest(
        number=pull.number,
        branch=pull.head.branch,
        title=pull.title,
        body=pull.body or "",
        is_open=pull.state == "open",
    )


def _request(pull: _Pull) -> PullRequest:
    return PullRequest(
        number=pull.number,
        head=Commit(pull.head.sha),
        branch=pull.head.branch,
        target=pull.base.ref,
        ref=f"refs/pull/{pull.number}/head",
        is_fork=pull.head.repo != pull.base.repo,
    )
