"""What GitHub's published description says of the calls that are made, as a table.

From https://github.com/github/rest-api-description (2022-11-28): the operations' paths, parameters
and request bodies. Their schemas take other properties too; here those that are not described are
refused, as a misspelt one would change nothing and be noticed by nobody. The lengths are not in it:
they are what GitHub's servers answer 422 to. Gitea's description (``/swagger.v1.json``) has the
same paths below ``/api/v1``, with ``limit`` for ``per_page``, ``base_branch`` for ``base``, and no
``direction``. GitLab's (``/api/v4``) is from its pages on merge requests,
notes and commits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PAGES = {"per_page": r"[1-9]\d?|100", "page": r"[1-9]\d*"}
_GITEA_PAGES = {"limit": r"[1-9]|[1-4]\d|50", "page": r"[1-9]\d*"}


@dataclass(frozen=True)
class Operation:
    """``query`` maps a parameter to what it may be; ``body`` is a JSON Schema."""

    name: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None

    def match(self, method: str, path: str) -> dict[str, str] | None:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        found = re.fullmatch(pattern, path) if method == self.method else None
        return found.groupdict() if found else None


_COMMENT = {
    "type": "object",
    "required": ["body"],
    "properties": {"body": {"type": "string", "minLength": 1, "maxLength": 65_536}},
    "additionalProperties": False,
}
_STATUS = {
    "type": "object",
    "required": ["state"],
    "properties": {
        "state": {"enum": ["error", "failure", "pending", "success"]},
        "target_url": {"type": ["string", "null"]},
        "description": {"type": ["string", "null"], "maxLength": 140},
        "context": {"type": "string", "default": "default"},
    },
    "additionalProperties": False,
}


_TEXT = {"type": "string", "maxLength": 65_536}
_TITLE = {"type": "string", "minLength": 1, "maxLength": 256}
_NEW_REQUEST = {
    "type": "object",
    "required": ["head", "base"],
    "properties": {
        "title": _TITLE,
        "body": _TEXT,
        "head": {"type": "string"},
        "base": {"type": "string"},
    },
    "additionalProperties": False,
}
_CHANGED_REQUEST = {
    "type": "object",
    "properties": {
        "title": _TITLE,
        "body": _TEXT,
        "state": {"enum": ["open", "closed"]},
        "base": {"type": "string"},
    },
    "additionalProperties": False,
}
_NEW_MERGE_REQUEST = {
    "type": "object",
    "required": ["source_branch", "target_branch", "title"],
    "properties": {
        "source_branch": {"type": "string"},
        "target_branch": {"type": "string"},
        "title": _TITLE,
        "description": {"type": "string", "maxLength": 1_048_576},
        "remove_source_branch": {"type": "boolean"},
    },
    "additionalProperties": False,
}
_CHANGED_MERGE_REQUEST = {
    "type": "object",
    "properties": {
        "title": _TITLE,
        "description": {"type": "string", "maxLength": 1_048_576},
        "state_event": {"enum": ["close", "reopen"]},
    },
    "additionalProperties": False,
}


_NOTE = {
    "type": "object",
    "required": ["body"],
    "properties": {"body": {"type": "string", "minLength": 1, "maxLength": 1_000_000}},
    "additionalProperties": False,
}
_GITLAB_STATUS = {
    "type": "object",
    "required": ["state"],
    "properties": {
        "state": {"enum": ["pending", "running", "success", "failed", "canceled", "skipped"]},
        "ref": {"type": "string", "minLength": 1, "maxLength": 255},
        "name": {"type": "string", "default": "default"},
        "target_url": {"type": "string", "maxLength": 255},
        "description": {"type": "string", "maxLength": 255},
        "coverage": {"type": "number"},
        "pipeline_id": {"type": "integer"},
    },
    "additionalProperties": False,
}


def gitlab_operations() -> list[Operation]:
    project, notes = "/projects/{id}", "/projects/{id}/merge_requests/{merge_request_iid}/notes"
    order = {"order_by": "created_at|updated_at", "sort": "asc|desc"}
    listed = {"state": "opened|closed|locked|merged|all", "target_branch": ".+", **order, **_PAGES}
    listed["source_branch"] = ".+"
    return [
        Operation("current user", "GET", "/user"),
        Operation("list requests", "GET", f"{project}/merge_requests", listed),
        Operation("create request", "POST", f"{project}/merge_requests", body=_NEW_MERGE_REQUEST),
        Operation(
            "update request",
            "PUT",
            f"{project}/merge_requests/{{number}}",
            body=_CHANGED_MERGE_REQUEST,
        ),
        Operation(
            "list statuses",
            "GET",
            f"{project}/repository/commits/{{sha}}/statuses",
            {"name": ".+", **_PAGES},
        ),
        Operation("set status", "POST", f"{project}/statuses/{{sha}}", body=_GITLAB_STATUS),
        Operation("list comments", "GET", notes, {**order, **_PAGES}),
        Operation("create comment", "POST", notes, body=_NOTE),
        Operation("update comment", "PUT", f"{notes}/{{note_id}}", body=_NOTE),
    ]


def operations(*, gitea: bool) -> list[Operation]:
    """Of GitHub and of Gitea."""
    pages = _GITEA_PAGES if gitea else _PAGES
    order = {"sort": "recentupdate|oldest|priority|leastupdate|mostcomment|leastcomment"}
    if not gitea:
        order = {"sort": "created|updated|popularity|long-running", "direction": "asc|desc"}
    repo, target = "/repos/{owner}/{repo}", "base_branch" if gitea else "base"
    return [
        Operation("current user", "GET", "/user"),
        Operation(
            "list requests",
            "GET",
            f"{repo}/pulls",
            {"state": "open|closed|all", target: ".+", **order, **pages},
        ),
        Operation("create request", "POST", f"{repo}/pulls", body=_NEW_REQUEST),
        Operation("update request", "PATCH", f"{repo}/pulls/{{number}}", body=_CHANGED_REQUEST),
        Operation("list statuses", "GET", f"{repo}/commits/{{ref}}/status", pages),
        Operation("set status", "POST", f"{repo}/statuses/{{sha}}", body=_STATUS),
        Operation("list comments", "GET", f"{repo}/issues/{{issue_number}}/comments", pages),
        Operation(
            "create comment",
            "POST",
            f"{repo}/issues/{{issue_number}}/comments",
            body=_COMMENT,
        ),
        Operation(
            "update comment",
            "PATCH",
            f"{repo}/issues/comments/{{comment_id}}",
            body=_COMMENT,
        ),
    ]
