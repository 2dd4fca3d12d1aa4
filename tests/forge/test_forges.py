"""The client, against a server that is strict about what the description says."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from reconciler.errors import Trouble
from reconciler.forge.github import GITEA, GITHUB, GitHub
from reconciler.forge.gitlab import GitLab
from reconciler.forge.interface import Comment, Forge, ForgeError, PullRequest
from reconciler.forge.rest import LONGEST_PAUSE
from reconciler.http_client import LARGEST_ANSWER, client
from reconciler.review.commit_status import CommitState, CommitStatus
from reconciler.types import Commit
from tests.forge.gitlab_server import GitLabServer, forge_server
from tests.forge.server import ME, SOMEBODY, ForgeServer
from tests.planted import assert_without

HEAD = Commit("a" * 40)
MARKER = "<!-- ours -->"


REQUEST = PullRequest(number=7, head=HEAD, branch="change", target="main", ref="")


@pytest.fixture(params=["github", "gitea", "gitlab"])
def server(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    with forge_server(request.param) as found:
        yield found


@pytest.fixture
async def forge(server: ForgeServer) -> AsyncIterator[Forge]:
    context = "reconciler/prod"
    async with client() as caller:
        if server.kind == "gitlab":
            yield GitLab(caller, server.api, "team/models", lambda: server.token, context=context)
        else:
            yield GitHub(
                caller,
                server.api,
                "team/models",
                lambda: server.token,
                context=context,
                dialect=GITEA if server.gitea else GITHUB,
            )


async def test_open_requests_for_the_branch_are_listed(server: ForgeServer, forge: Forge) -> None:
    server.open(7, HEAD)
    server.open(8, HEAD, base="release")
    (found,) = await forge.open_requests("main", 100)
    assert (found.number, found.head, found.target) == (7, HEAD, "main")
    assert found.ref == server.ref(7)


async def test_a_list_that_has_not_changed_is_not_sent_again(
    server: ForgeServer, forge: Forge
) -> None:
    server.open(7, HEAD)
    first = await forge.open_requests("main", 100)
    assert await forge.open_requests("main", 100) == first
    server.open(8, HEAD)
    assert len(await forge.open_requests("main", 100)) == 2
    assert server.answers == [200, 304, 200]


async def test_no_more_pages_are_read_than_there_may_be_requests(
    server: ForgeServer, forge: Forge
) -> None:
    for number in range(1, 301):
        server.open(number, HEAD)
    assert len(await forge.open_requests("main", 120)) <= 120
    assert server.said("list requests") == (3 if server.gitea else 2)


async def test_what_is_not_of_the_described_form_is_left_out(
    server: ForgeServer, forge: Forge
) -> None:
    server.open(7, HEAD)
    good = server.pulls[7]
    changes: list[dict[str, object]] = [
        {"iid": "7; rm", "number": None},
        {"sha": "../../etc", "head": None},
        {"target_branch": "x" * 300, "base": None},
    ]
    if server.kind != "gitlab":
        changes += [
            {"number": 0},
            {"number": "7; rm"},
            {"number": 1 << 40},
            {"head": {"sha": "../../etc"}},
            {"head": {"sha": "-" * 40}},
            {"head": None},
            {"base": {"ref": "x" * 300}},
        ]
    for number, change in enumerate(changes, start=100):
        server.pulls[number] = {**good, **change}
    assert [found.number for found in await forge.open_requests("main", 100)] == [7]


async def test_a_status_is_given_and_found_again(server: ForgeServer, forge: Forge) -> None:
    assert await forge.status(HEAD) is None
    given = CommitStatus(CommitState.FAILURE, "a.yaml:1:1 spec: is required")
    await forge.set_status(REQUEST, HEAD, given)
    assert await forge.status(HEAD) == given
    (sent,) = server.statuses[HEAD]
    if server.kind == "gitlab":
        expected = {"state": "failed", "name": "reconciler/prod", "ref": "change"}
    else:
        expected = {"state": "failure", "context": "reconciler/prod"}
    assert sent == {**expected, "description": given.description}
    for state in CommitState:
        await forge.set_status(REQUEST, HEAD, CommitStatus(state, "again"))
        assert await forge.status(HEAD) == CommitStatus(state, "again")


async def test_a_comment_is_written_found_edited_and_written_anew(
    server: ForgeServer, forge: Forge
) -> None:
    server.write(7, f"{MARKER} not really", SOMEBODY)
    assert await forge.own_comment(7, MARKER) is None
    made = await forge.comment(7, f"{MARKER}\nplan")
    assert await forge.own_comment(7, MARKER) == made
    edited = await forge.edit(7, made, f"{MARKER}\nother")
    assert edited == Comment(made.id, f"{MARKER}\nother")
    assert server.bodies(7)[1] == f"{MARKER}\nother"
    del server.comments[7][1]
    assert await forge.edit(7, made, "gone") is None


async def test_an_app_finds_its_comments_although_it_may_not_ask_who_it_is(
    server: ForgeServer, forge: Forge
) -> None:
    def fault(name: str) -> tuple[int, dict[str, str], bytes] | None:
        if name != "current user":
            return None
        return 403, {}, b'{"message": "Resource not accessible by integration"}'

    server.fault = fault
    server.write(7, f"{MARKER} mine", SOMEBODY)
    server.write(7, f"{MARKER}\nplan", {**ME, "type": "Bot"})
    if server.kind != "github":
        with pytest.raises(ForgeError, match="403"):
            await forge.own_comment(7, MARKER)
    else:
        found = await forge.own_comment(7, MARKER)
        assert found is not None
        assert found.body == f"{MARKER}\nplan"


@pytest.mark.parametrize(
    ("status", "headers", "trouble", "lasting"),
    [
        (401, {}, Trouble.REFUSED, False),
        (403, {}, Trouble.REFUSED, False),
        (403, {"Retry-After": "30"}, Trouble.LIMITED, False),
        (429, {"Retry-After": "30"}, Trouble.LIMITED, False),
        (404, {}, Trouble.MISSING, True),
        (422, {}, Trouble.REJECTED, True),
        (301, {"Location": "http://127.0.0.1:1/"}, Trouble.REJECTED, True),
        (502, {"Retry-After": "30"}, Trouble.UNREACHABLE, False),
    ],
)
async def test_errors_are_told_apart(
    server: ForgeServer,
    forge: Forge,
    status: int,
    headers: dict[str, str],
    trouble: Trouble,
    lasting: bool,
) -> None:
    body = json.dumps({"message": "no\n@all \u001b[31m" + "x" * 10_000}).encode()
    server.fault = lambda _: (status, headers, body)
    with pytest.raises(ForgeError) as caught:
        await forge.set_status(REQUEST, HEAD, CommitStatus(CommitState.SUCCESS, ""))
    error = caught.value
    assert (error.trouble, error.lasting) == (trouble, lasting)
    assert error.pause == (30 if "Retry-After" in headers else 0)
    assert str(error).isprintable()
    assert len(str(error)) < 500
    assert server.token not in str(error)


async def test_a_forge_that_repeats_the_token_does_not_get_it_into_the_error(
    server: ForgeServer, forge: Forge
) -> None:
    told = f"{server.token} {base64.b64encode(f'me:{server.token}'.encode()).decode()} " + "x" * 300
    server.fault = lambda _: (403, {}, json.dumps({"message": f"no {told}"}).encode())
    with pytest.raises(ForgeError) as caught:
        await forge.set_status(REQUEST, HEAD, CommitStatus(CommitState.SUCCESS, ""))
    assert "(no ***" in str(caught.value)
    assert_without(server.token, str(caught.value))


async def test_a_used_up_limit_says_until_when(server: ForgeServer, forge: Forge) -> None:
    def limited(reset: float) -> None:
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(reset))}
        server.fault = lambda _: (403, headers, b"{}")

    for seconds, least, most in [
        (600, 500, 601),
        (-5, 1, 1),
        (10**6, LONGEST_PAUSE, LONGEST_PAUSE),
    ]:
        limited(time.time() + seconds)
        with pytest.raises(ForgeError, match="too many calls") as caught:
            await forge.open_requests("main", 100)
        assert least <= caught.value.pause <= most


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b'{"a": 1}', b"<html>", b"\xff\xfe", b"[" * 100_000, b'[{"id": 1e999}]'],
    ids=lambda body: repr(body[:10]),
)
async def test_an_answer_of_another_form_is_an_error(
    server: ForgeServer, forge: Forge, body: bytes
) -> None:
    server.fault = lambda name: None if name == "current user" else (200, {}, body)
    with pytest.raises(ForgeError):
        await forge.own_comment(7, MARKER)


async def test_an_answer_without_end_is_not_read_to_it(server: ForgeServer, forge: Forge) -> None:
    server.fault = lambda _: (200, {}, b" " * (LARGEST_ANSWER + 1))
    with pytest.raises(ForgeError, match="more than"):
        await forge.open_requests("main", 100)


async def test_no_line_of_a_note_is_a_command() -> None:
    server = GitLabServer()
    try:
        async with client() as caller:
            forge = GitLab(caller, server.api, "team/models", lambda: server.token, context="c")
            made = await forge.comment(7, "plan\n/merge\n  /approve\na/b")
            assert server.bodies(7) == ["plan\n&#47;merge\n  &#47;approve\na/b"]
            await forge.edit(7, made, "/close")
            assert server.bodies(7) == ["&#47;close"]
    finally:
        server.close()


# -- requests of our own ---------------------------------------------------------------------


async def test_a_request_is_opened_revised_and_closed(server: ForgeServer, forge: Forge) -> None:
    made = await forge.open("main", "update/a", "Update a", "to 2\n/merge")
    assert (made.branch, made.title, made.is_open) == ("update/a", "Update a", True)
    (found,) = await forge.own_requests("main", "update/a")
    assert (found.number, found.is_open) == (made.number, True)
    await forge.revise(made.number, "Update a", "to 3")
    assert server.texts()[made.number] == ("open", "Update a", "to 3")
    await forge.close(made.number)
    (found,) = await forge.own_requests("main", "update/a")
    assert not found.is_open
    assert server.complaints == []


async def test_requests_of_others_and_of_other_branches_are_not_ours(
    server: ForgeServer, forge: Forge
) -> None:
    server.open(1, HEAD)
    assert await forge.own_requests("main", "change") == []
    await forge.open("main", "update/a", "Update a", "")
    assert await forge.own_requests("main", "update/b") == []
    assert len(await forge.own_requests("main", "update/a")) == 1


async def test_a_request_stays_that_of_its_branch_when_the_branch_is_deleted(
    server: ForgeServer, forge: Forge
) -> None:
    made = await forge.open("main", "update/a", "Update a", "")
    server.end(made.number)
    server.delete_branch(made.number)
    (found,) = await forge.own_requests("main", "update/a")
    assert (found.number, found.branch, found.is_open) == (made.number, "update/a", False)


async def test_a_request_of_a_fork_is_told_apart(server: ForgeServer, forge: Forge) -> None:
    server.open(7, HEAD, branch="update/a")
    server.open(8, HEAD, branch="update/a", fork=2)
    found = await forge.open_requests("main", 100)
    assert {request.number: request.is_fork for request in found} == {7: False, 8: True}


async def test_a_request_that_was_merged_is_listed_with_the_others(
    server: ForgeServer, forge: Forge
) -> None:
    made = await forge.open("main", "update/a", "Update a", "")
    server.end(made.number, merged=True)
    (found,) = await forge.own_requests("main", "update/a")
    assert not found.is_open


async def test_a_text_to_gitlab_holds_no_quick_action(server: ForgeServer, forge: Forge) -> None:
    made = await forge.open("main", "update/a", "Update a", "to 2\n/merge")
    _, _, text = server.texts()[made.number]
    assert ("\n/merge" in text) == (server.kind != "gitlab")
