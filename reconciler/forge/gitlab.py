"""GitLab's REST API (version 4): merge requests, notes and commit statuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote, urlencode

from msgspec import Struct

from reconciler.errors import Trouble
from reconciler.forge.interface import Comment, ForgeError, OwnRequest, PullRequest
from reconciler.forge.rest import Branch, Id, Number, PagedList, Rest, Sha, decode, items
from reconciler.http_client import Client
from reconciler.review import CommitState, CommitStatus
from reconciler.types import JSON, Commit

_PAGE = 100
#: Pages of notes that are looked through for ours, which is among the first.
_MOST_PAGES = 10
#: GitLab's names of the states. It has none for an error, and a status that has ended is never
#: changed: another of its name takes its place.
_STATES = {
    CommitState.SUCCESS: "success",
    CommitState.FAILURE: "failed",
    CommitState.ERROR: "canceled",
}


class _User(Struct):
    id: Id


class _Request(Struct):
    iid: Number
    sha: Sha
    source_branch: Branch
    target_branch: Branch
    source_project_id: int | None = None
    target_project_id: int | None = None


class _OwnMergeRequest(Struct):
    iid: Number
    source_branch: Branch
    title: str = ""
    description: str | None = None
    state: str = ""
    author: _User | None = None


class _Note(Struct):
    id: Id
    body: str | None = None
    author: _User | None = None


class _Status(Struct):
    name: str = ""
    status: str = ""
    description: str | None = None


class GitLab:
    """A project of GitLab at ``api``, as a Forge.

    ``token`` is called at each request, as it may rotate. ``context`` is the name of our statuses.
    """

    def __init__(
        self, client: Client, api: str, project: str, token: Callable[[], str], *, context: str
    ) -> None:
        self._rest = Rest(client, api, lambda: {"PRIVATE-TOKEN": token()})
        self._path = f"/projects/{quote(project, safe='')}"
        self._context = context
        self._first_page = PagedList()
        self._me: int | None = None

    async def open_requests(self, target: str, most: int) -> Sequence[PullRequest]:
        """List the open merge requests into ``target``, newest activity first."""
        found = list[_Request]()
        for number in range(1, -(-most // _PAGE) + 1):
            query = {"state": "opened", "target_branch": target}
            query |= {"order_by": "updated_at", "sort": "desc"}
            path = f"{self._path}/merge_requests?{urlencode(query)}&{_page(number)}"
            listed = await (self._first_page if number == 1 else PagedList()).read(self._rest, path)
            found += items(listed[:_PAGE], _Request)
            if len(listed) < _PAGE:
                break
        return [_request(each) for each in found if each.target_branch == target][:most]

    async def status(self, commit: Commit) -> CommitStatus | None:
        """Return the status that we set on a commit, or None."""
        query = urlencode({"name": self._context})
        path = f"{self._path}/repository/commits/{commit}/statuses?{query}&{_page(1)}"
        for status in decode(await self._rest.ask("GET", path), list[_Status]):
            for state, name in _STATES.items():
                if (status.name, status.status) == (self._context, name):
                    return CommitStatus(state, status.description or "")
        return None

    async def set_status(self, request: PullRequest, commit: Commit, status: CommitStatus) -> None:
        """Set the status; GitLab needs the branch too, perhaps of a fork."""
        payload: dict[str, JSON] = {
            "state": _STATES[status.state],
            "description": status.description,
            "name": self._context,
            "ref": request.branch,
        }
        await self._rest.ask("POST", f"{self._path}/statuses/{commit}", payload)

    async def own_requests(self, target: str, branch: str) -> Sequence[OwnRequest]:
        """List our requests to merge ``branch`` into ``target``.

        Open or not, the newest first.
        """
        me = await self._whoami()
        query = {"state": "all", "target_branch": target, "source_branch": branch}
        query |= {"order_by": "created_at", "sort": "desc"}
        path = f"{self._path}/merge_requests?{urlencode(query)}&{_page(1)}"
        listed = decode(await self._rest.ask("GET", path), list[_OwnMergeRequest])
        mine = (r for r in listed if r.author is not None and r.author.id == me)
        found = [_own(request) for request in mine if request.source_branch == branch]
        return sorted(found, key=lambda request: -request.number)

    async def open(self, target: str, branch: str, title: str, body: str) -> OwnRequest:
        """Open a request to merge a branch of the project itself."""
        payload: dict[str, JSON] = {
            "title": title,
            "description": _inert(body),
            "source_branch": branch,
            "target_branch": target,
            "remove_source_branch": True,
        }
        made = await self._rest.ask("POST", f"{self._path}/merge_requests", payload)
        return _own(decode(made, _OwnMergeRequest))

    async def revise(self, number: int, title: str, body: str) -> None:
        """Replace the title and the text of our request."""
        payload: dict[str, JSON] = {"title": title, "description": _inert(body)}
        await self._rest.ask("PUT", f"{self._path}/merge_requests/{number}", payload)

    async def close(self, number: int) -> None:
        """Close our request without a merge."""
        path = f"{self._path}/merge_requests/{number}"
        await self._rest.ask("PUT", path, {"state_event": "close"})

    async def own_comment(self, number: int, marker: str) -> Comment | None:
        """Return the first note with the marker whose author we are."""
        me = await self._whoami()
        for page in range(1, _MOST_PAGES + 1):
            query = urlencode({"order_by": "created_at", "sort": "asc"})
            path = f"{self._notes(number)}?{query}&{_page(page)}"
            notes = decode(await self._rest.ask("GET", path), list[_Note])
            for note in notes:
                mine = note.author is not None and note.author.id == me
                if mine and (note.body or "").startswith(marker):
                    return Comment(note.id, note.body or "")
            if len(notes) < _PAGE:
                break
        return None

    async def comment(self, number: int, body: str) -> Comment:
        """Write a note on a request."""
        answer = await self._rest.ask("POST", self._notes(number), {"body": _inert(body)})
        return Comment(decode(answer, _Note).id, body)

    async def edit(self, number: int, comment: Comment, body: str) -> Comment | None:
        """Replace a note's text; None where the note is gone."""
        path = f"{self._notes(number)}/{comment.id}"
        try:
            await self._rest.ask("PUT", path, {"body": _inert(body)})
        except ForgeError as error:
            if error.trouble is Trouble.MISSING:
                return None
            raise
        return Comment(comment.id, body)

    async def _whoami(self) -> int:
        if self._me is None:
            self._me = decode(await self._rest.ask("GET", "/user"), _User).id
        return self._me

    def _notes(self, number: int) -> str:
        return f"{self._path}/merge_requests/{number}/notes"


def _inert(body: str) -> str:
    """Escape quick actions: a line ``/merge`` would be executed."""
    return re.sub(r"(?m)^([ \t]*)/", r"\1&#47;", body)


def _page(number: int) -> str:
    return urlencode({"per_page": _PAGE, "page": number})


def _request(found: _Request) -> PullRequest:
    return PullRequest(
        number=found.iid,
        head=Commit(found.sha),
        branch=found.source_branch,
        target=found.target_branch,
        ref=f"refs/merge-requests/{found.iid}/head",
        is_fork=found.source_project_id != found.target_project_id,
    )


def _own(found: _OwnMergeRequest) -> OwnRequest:
    return OwnRequest(
        number=found.iid,
        branch=found.source_branch,
        title=found.title,
        body=found.description or "",
        is_open=found.state == "opened",
    )
