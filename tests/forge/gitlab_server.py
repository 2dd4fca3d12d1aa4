"""The same small forge as GitLab has it: merge requests, notes, and states by other names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any

from tests.forge.description import Operation, gitlab_operations
from tests.forge.server import ME, SOMEBODY, ForgeServer

_JUDGED = {"success": "success", "failed": "failure", "canceled": "error"}


@dataclass
class GitLabServer(ForgeServer):
    """A commit that is on no branch of the project, as a fork's is, gets a status by a ref only."""

    @property
    def kind(self) -> str:
        return "gitlab"

    def describe(self) -> list[Operation]:
        return gitlab_operations()

    def prefix(self) -> str:
        return "/api/v4"

    def ref(self, number: int) -> str:
        return f"refs/merge-requests/{number}/head"

    def may(self, headers: Message) -> bool:
        return headers.get("PRIVATE-TOKEN") == self.token

    def demanded(self) -> dict[str, str]:
        return {}

    def open(
        self, number: int, head: str, base: str = "main", *, branch: str = "change", fork: int = 1
    ) -> None:
        self.pulls[number] = {
            "id": 5_000 + number,
            "iid": number,
            "sha": head,
            "source_branch": branch,
            "target_branch": base,
            "source_project_id": fork,
            "target_project_id": 1,
            "title": "@all look",
            "state": "opened",
            "author": SOMEBODY,
        }

    def end(self, number: int, *, merged: bool = False) -> None:
        self.pulls[number]["state"] = "merged" if merged else "closed"

    def texts(self) -> dict[int, tuple[str, str, str]]:
        return {
            number: (pull["state"].removesuffix("ed"), pull["title"], pull.get("description", ""))
            for number, pull in self.pulls.items()
        }

    def status(self, commit: str) -> tuple[str, str] | None:
        given = super().status(commit)
        return (_JUDGED[given[0]], given[1]) if given else None

    def do(self, name: str, found: dict[str, str], body: Any) -> tuple[int, Any]:
        if found.get("id", "team%2Fmodels") != "team%2Fmodels":
            return 404, {"message": "404 Project Not Found"}
        number = int(found.get("merge_request_iid", 0))
        match name:
            case "list requests" | "create request" | "update request":
                return self.do_request(name, found, body)
            case "list statuses":
                newest = self.statuses.get(found["sha"], [])[-1:]
                return 200, [
                    {"name": s["name"], "status": s["state"], "description": s["description"]}
                    for s in newest
                ]
            case "set status" if "ref" not in body:
                return 404, {"message": "404 References for commit Not Found"}
            case "list comments":
                return 200, [_note(comment) for comment in self.comments.get(number, [])]
            case "create comment":
                return 201, _note(self.write(number, body["body"]))
            case "update comment":
                status, comment = self.rewrite(int(found["note_id"]), body["body"])
                return status, _note(comment) if status == 200 else comment
            case _:
                return super().do(name, found, body)

    def do_request(self, name: str, found: dict[str, str], body: Any) -> tuple[int, Any]:
        if name == "list requests":
            wanted, branch = found.get("state", "all"), found.get("source_branch")
            return 200, [
                pull
                for pull in self.pulls.values()
                if wanted in ("all", pull.get("state", wanted))
                and branch in (None, pull.get("source_branch"))
            ]
        if name == "create request":
            number = len(self.pulls) + 1
            sha = self.tip(body["source_branch"])
            opened = {"iid": number, "sha": sha, "state": "opened", "author": ME, **body}
            self.pulls[number] = opened
            return 201, opened
        pull = self.pulls[int(found["number"])]
        assert pull["author"] == ME, "somebody else's request was edited"
        if body.pop("state_event", None) == "close":
            pull["state"] = "closed"
        pull |= body
        return 200, pull


def _note(comment: dict[str, Any]) -> dict[str, Any]:
    return {"id": comment["id"], "body": comment["body"], "author": comment["user"]}


@contextmanager
def forge_server(kind: str) -> Iterator[ForgeServer]:
    """A forge that must have had nothing to complain of: ``github``, ``gitea`` or ``gitlab``."""
    server = GitLabServer() if kind == "gitlab" else ForgeServer(gitea=kind == "gitea")
    yield server
    server.close()
    assert server.complaints == []
