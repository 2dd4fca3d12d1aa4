"""A small forge: what the description says of a few calls, kept in memory, and strict about it.

Anything that is not described (a path, a parameter, a header, a body) is an answer of 400 and a
complaint, which tests look at.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jsonschema import Draft202012Validator

from tests.forge.description import Operation, operations
from tests.servers import Handler, Serving

ME = {"id": 77, "login": "reconciler-bot", "type": "User"}
SOMEBODY = {"id": 5, "login": "mallory", "type": "User"}

Answer = tuple[int, dict[str, str], bytes]
#: An answer instead of the real one, or None.
Fault = Callable[[str], Answer | None]


@dataclass
class ForgeServer(Serving):
    """``pulls``, ``statuses`` and ``comments`` are its memory; ``calls`` what was asked of it."""

    gitea: bool = False
    token: str = "t0ken"
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    statuses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    fault: Fault = lambda _: None
    #: Looks up the tip of a branch of the repository, for requests that the reconciler opens.
    tip: Callable[[str], str] = lambda _: "0" * 40

    def __post_init__(self) -> None:
        self._described = self.describe()
        self._prefix = self.prefix()
        outer = self

        class Asked(Handler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                status, headers, body = outer.answer(self, self.body())
                outer.answers.append(status)
                self.answer(status, headers.items(), body)

            do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815 -- as they must be called

        self.serve(ThreadingHTTPServer(("127.0.0.1", 0), Asked))

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._prefix}"

    # -- what one forge has other than another ---------------------------------------------------

    @property
    def kind(self) -> str:
        return "gitea" if self.gitea else "github"

    def describe(self) -> list[Operation]:
        return operations(gitea=self.gitea)

    def prefix(self) -> str:
        return "/api/v1" if self.gitea else ""

    def ref(self, number: int) -> str:
        return f"refs/pull/{number}/head"

    def may(self, headers: Message) -> bool:
        scheme = "token" if self.gitea else "Bearer"
        return headers.get("Authorization") == f"{scheme} {self.token}"

    def demanded(self) -> dict[str, str]:
        if self.gitea:
            return {"Accept": "application/json"}
        return {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}

    # -- what tests do to it and see of it -----------------------------------------------------

    def open(
        self, number: int, head: str, base: str = "main", *, branch: str = "change", fork: int = 1
    ) -> None:
        """Have somebody open a request, of a repository ``fork`` if that is not 1."""
        self.pulls[number] = {
            "number": number,
            "state": "open",
            "head": {"ref": branch, "label": branch, "sha": head, "repo": {"id": fork}},
            "base": {"ref": base, "sha": "0" * 40, "repo": {"id": 1}},
            "title": "@everyone look",
            "user": SOMEBODY,
        }

    def end(self, number: int, *, merged: bool = False) -> None:
        """Close a request, or say that it was merged."""
        ended = {"merged_at": "2026-01-01T00:00:00Z"} if merged else {}
        self.pulls[number] |= {"state": "closed", **ended}

    def delete_branch(self, number: int) -> None:
        """Delete the branch of a request: Gitea then has its own ref as that of the head."""
        if self.gitea:
            self.pulls[number]["head"]["ref"] = self.ref(number)

    def texts(self) -> dict[int, tuple[str, str, str]]:
        """State, title and text of each request."""
        return {n: (p["state"], p["title"], p.get("body", "")) for n, p in self.pulls.items()}

    def opened(self, body: Any) -> dict[str, Any]:
        """Open a request as its author asks for it."""
        sha = self.tip(body["head"])
        return {
            "number": len(self.pulls) + 1,
            "state": "open",
            "head": {"ref": body["head"], "label": body["head"], "sha": sha, "repo": {"id": 1}},
            "base": {"ref": body["base"], "sha": "0" * 40, "repo": {"id": 1}},
            "title": body["title"],
            "body": body["body"],
            "user": ME,
        }

    def status(self, commit: str) -> tuple[str, str] | None:
        given = self.statuses.get(commit)
        return (given[-1]["state"], given[-1]["description"]) if given else None

    def bodies(self, number: int) -> list[str]:
        return [comment["body"] for comment in self.comments.get(number, [])]

    def said(self, operation: str) -> int:
        return sum(1 for call in self.calls if call.startswith(f"{operation} "))

    # -- answering -----------------------------------------------------------------------------

    def answer(
        self, request: BaseHTTPRequestHandler, data: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(request.path)
        path = parts.path.removeprefix(self._prefix)
        for operation in self._described:
            found = operation.match(request.command, path)
            if found is not None:
                break
        else:
            return self._complain(f"{request.command} {request.path} is not described")
        self.calls.append(f"{operation.name} {path}")
        wrong = self._headers(request) or self._query(operation, parts.query)
        if wrong:
            return self._complain(wrong)
        if not self.may(request.headers):
            return _json(401, {"message": "Bad credentials"})
        fault = self.fault(operation.name)
        if fault is not None:
            return fault
        body = None
        if operation.body is not None:
            body = json.loads(data)
            errors = [e.message for e in Draft202012Validator(operation.body).iter_errors(body)]
            if errors:
                self.complaints.append(f"{operation.name}: {errors[0][:300]}")
                return _json(422, {"message": "Validation Failed"})
        elif data:
            return self._complain(f"{operation.name} has a body")
        status, value = self.do(operation.name, {**dict(parse_qsl(parts.query)), **found}, body)
        tag = f'W/"{hashlib.sha256(json.dumps(value).encode()).hexdigest()}"'
        if request.command == "GET" and request.headers.get("If-None-Match") == tag:
            return 304, {"ETag": tag}, b""
        answer = _json(status, value)
        return answer[0], {**answer[1], "ETag": tag}, answer[2]

    def _headers(self, request: BaseHTTPRequestHandler) -> str:
        asked = self.demanded()
        if request.command != "GET":
            asked["Content-Type"] = "application/json"
        for name, value in asked.items():
            if request.headers.get(name) != value:
                return f"{name} is {request.headers.get(name)!r}"
        return "" if request.headers.get("User-Agent") else "GitHub refuses calls of no User-Agent"

    def _query(self, operation: Operation, query: str) -> str:
        for name, value in parse_qsl(query, keep_blank_values=True):
            if not re.fullmatch(operation.query.get(name, "(?!)"), value):
                return f"{operation.name}: {name}={value} is not described"
        return ""

    def _complain(self, text: str) -> tuple[int, dict[str, str], bytes]:
        self.complaints.append(text)
        return _json(400, {"message": text})

    def do(self, name: str, found: dict[str, str], body: Any) -> tuple[int, Any]:
        match name:
            case "current user":
                return 200, ME
            case "list requests":
                wanted = found.get("state", "open")
                return 200, [
                    p for p in self.pulls.values() if wanted in ("all", p.get("state", wanted))
                ]
            case "create request":
                made = self.opened(body)
                self.pulls[made["number"]] = made
                return 201, made
            case "update request":
                pull = self.pulls[int(found["number"])]
                assert pull["user"] == ME, "somebody else's request was edited"
                pull |= body
                return 200, pull
            case "list statuses":
                newest = self.statuses.get(found["ref"], [])[-1:]
                field = "status" if self.gitea else "state"
                return 200, {
                    "state": "pending",
                    "statuses": [
                        {
                            "context": s["context"],
                            field: s["state"],
                            "description": s["description"],
                        }
                        for s in newest
                    ],
                }
            case "set status":
                self.statuses.setdefault(found["sha"], []).append(body)
                return 201, {"id": 1, **body}
            case "list comments":
                return 200, self.comments.get(int(found["issue_number"]), [])
            case "create comment":
                return 201, self.write(int(found["issue_number"]), body["body"])
            case _:
                return self.rewrite(int(found["comment_id"]), body["body"])

    def write(self, number: int, body: str, user: dict[str, Any] = ME) -> dict[str, Any]:
        made = sum(len(comments) for comments in self.comments.values())
        comment = {"id": 1000 + made, "body": body, "user": user, "edits": 0}
        self.comments.setdefault(number, []).append(comment)
        return comment

    def rewrite(self, number: int, body: str) -> tuple[int, Any]:
        for comments in self.comments.values():
            for comment in comments:
                if comment["id"] == number:
                    assert comment["user"] == ME, "somebody else's comment was edited"
                    comment |= {"body": body, "edits": comment["edits"] + 1}
                    return 200, comment
        return 404, {"message": "Not Found"}


def _json(status: int, value: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(value).encode()
